/*
 * A disk that fails on demand, put under a program with LD_PRELOAD.
 *
 * It stands between the program and the C library for the files of one folder, the journal's, and
 * does to them what disks do. Nothing in the program knows of it. Configured by the environment:
 *
 *   FAULTS_STATE    the folder whose files fail, absolute. `-shm` is left alone: it is memory; and so
 *                   are the journal's index, which is made anew where it is not as it was, and the folder of
 *                   those who follow the journal.
 *   FAULTS_WATCH    a folder whose writes are counted with those of FAULTS_STATE, and do not fail.
 *   FAULTS_CONTROL  what to do, at any time: a file of 64 bytes, `GENERATION MODE N [NAME]`, written by
 *                   the test in place. Counting begins anew with each generation. A name at its end counts
 *                   the writes and syncs of that file alone. Modes:
 *                     none
 *                     full          writes fail with ENOSPC, after their first page. The head of the journal, which
 *                                   is overwritten in place, has its room.
 *                     read-only     writes, truncations, new files and removals fail with EROFS
 *                     sync-once N   the Nth sync fails with EIO; later ones succeed, as on Linux
 *                     sync-always N the Nth sync and all after it fail with EIO
 *                     kill-write N  SIGKILL at the Nth write: before it or, if N is odd, after its first
 *                                   page. Within a page no kernel is interrupted.
 *                     kill-sync N   SIGKILL at the Nth sync, before it
 *   FAULTS_LOG      what happened, one line an operation: `write NAME OFFSET LENGTH RESULT`,
 *                   `sync NAME RESULT`, `truncate NAME LENGTH RESULT`, `kill`. Results: ok, or why not.
 *   FAULTS_SHADOW   a folder for what a power cut would leave; without it nothing is kept there.
 *   FAULTS_KEEP     the program starts on a machine that did not stop: shadows are as they were.
 *
 * In the shadow folder there is, for each file NAME of FAULTS_STATE that was opened,
 *   NAME            what is durable: the file as it was found, and what was synced since;
 *   NAME.pending    what was written and not synced: records of { kind, offset, length } and bytes;
 *   NAME.new        while the folder was not synced since the file was made: it would be gone.
 * A sync that fails drops what was pending, as Linux does: the program reads it, a later sync does not
 * write it, and a power cut loses it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FILES_MAX = 64, DESCRIPTORS_MAX = 65536 };
enum { CONTROL_BYTES = 64, PATH_BYTES = 4096, NAME_BYTES = 128, PAGE_BYTES = 4096 };

/* What a descriptor is to us. Above zero it is a file of FAULTS_STATE: its index and one. */
enum { STRANGER = 0, FOLDER = -1, WATCHED = -2 };

enum { WRITE = 1, TRUNCATE = 2 };

struct record { int64_t kind, offset, length; };

struct file {
    char name[NAME_BYTES];
    int shadow, pending;
};

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static const char *state, *watch, *shadows;
static const volatile char *control;
static int log_fd = -1;
static struct file files[FILES_MAX];
static int files_length;
static int16_t kinds[DESCRIPTORS_MAX];
static long generation = -1, writes, syncs;

#define REAL(name) static __typeof__(&name) real_##name
REAL(open64); REAL(openat64); REAL(close); REAL(write); REAL(pwrite64);
REAL(ftruncate64); REAL(fsync); REAL(fdatasync); REAL(unlink); REAL(writev); REAL(rename);

static void end(const char *why) {
    dprintf(2, "faults: %s: %s\n", why, strerror(errno));
    _exit(99);
}

__attribute__((constructor)) static void begin(void) {
#define FIND(name) \
    if (!(real_##name = (__typeof__(real_##name))dlsym(RTLD_NEXT, #name))) end(#name)
    FIND(open64); FIND(openat64); FIND(close); FIND(write); FIND(pwrite64);
    FIND(ftruncate64); FIND(fsync); FIND(fdatasync); FIND(unlink); FIND(writev); FIND(rename);
    state = getenv("FAULTS_STATE");
    watch = getenv("FAULTS_WATCH");
    shadows = getenv("FAULTS_SHADOW");
    const char *control_path = getenv("FAULTS_CONTROL"), *log_path = getenv("FAULTS_LOG");
    if (!state || !control_path || !log_path) end("FAULTS_STATE, FAULTS_CONTROL and FAULTS_LOG");
    int fd = real_open64(control_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) end(control_path);
    control = mmap(NULL, CONTROL_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) end(control_path);
    real_close(fd);
    log_fd = real_open64(log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (log_fd < 0) end(log_path);
}

static void note(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (real_write(log_fd, line, (size_t)length) != length) end("log");
}

/* ── what is asked for ────────────────────────────────────────────────────────────────────────── */

struct order { char mode[32]; long n; char name[CONTROL_BYTES]; };

static struct order asked(void) {
    char text[CONTROL_BYTES + 1];
    struct order order = { "none", 0, "" };
    long now = 0;
    for (int i = 0; i < CONTROL_BYTES; i++) text[i] = control[i];
    text[CONTROL_BYTES] = 0;
    if (sscanf(text, "%ld %31s %ld %63s", &now, order.mode, &order.n, order.name) < 2)
        strcpy(order.mode, "none");
    if (now != generation) {
        generation = now;
        writes = syncs = 0;
    }
    return order;
}

static int counts(const struct order *order, const char *name) {
    return !*order->name || !strcmp(order->name, name);
}

static int is(const struct order *order, const char *mode) { return !strcmp(order->mode, mode); }

static void die(const char *what, const char *name) {
    note("kill at %s %s\n", what, name);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static const char *result(int failed) {
    switch (failed) {
    case 0: return "ok";
    case EIO: return "EIO";
    case ENOSPC: return "ENOSPC";
    case EROFS: return "EROFS";
    default: return "error";
    }
}

/* ── the shadow ───────────────────────────────────────────────────────────────────────────────── */

/* Where the shadow of a file lies, or what belongs to it. Good until the next one is asked for. */
static const char *place(const char *name, const char *suffix) {
    static char path[PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/%s%s", shadows, name, suffix);
    if (length >= PATH_BYTES) end("a path is too long");
    return path;
}

static int beside(const char *name, const char *suffix, int flags) {
    const char *path = place(name, suffix);
    int fd = real_open64(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) end(path);
    return fd;
}

static void put(int fd, const void *bytes, size_t length, off64_t offset) {
    while (length) {
        ssize_t done = real_pwrite64(fd, bytes, length, offset);
        if (done <= 0) end("shadow");
        bytes = (const char *)bytes + done;
        length -= (size_t)done;
        offset += done;
    }
}

static void pend(struct file *file, int64_t kind, off64_t offset, const void *bytes, size_t length) {
    if (!shadows) return;
    struct record record = { kind, offset, kind == WRITE ? (int64_t)length : 0 };
    struct iovec parts[2] = { { &record, sizeof record }, { (void *)bytes, (size_t)record.length } };
    /* One call: a kill in between must not leave half a record for the next one to follow. */
    ssize_t whole = (ssize_t)(sizeof record + parts[1].iov_len);
    if (real_writev(file->pending, parts, 2) != whole) end("pending");
}

/* What was pending is durable, or dropped. */
static void settle(struct file *file, int durable) {
    if (!shadows) return;
    struct record record;
    off64_t at = 0;
    while (durable && pread64(file->pending, &record, sizeof record, at) == sizeof record) {
        at += sizeof record;
        if (record.kind == TRUNCATE) {
            if (real_ftruncate64(file->shadow, record.offset)) end("shadow");
            continue;
        }
        char *bytes = malloc((size_t)record.length + 1);
        if (!bytes) end("memory");
        if (pread64(file->pending, bytes, (size_t)record.length, at) != record.length) end("pending");
        put(file->shadow, bytes, (size_t)record.length, record.offset);
        free(bytes);
        at += record.length;
    }
    if (real_ftruncate64(file->pending, 0)) end("pending");
}

/* Copies a file as it is found. By the program's own descriptor if it can be read: closing another one
 * would give up the locks that SQLite has on the file. */
static void copy(int from, const char *path, int to) {
    char bytes[65536];
    off64_t at = 0;
    ssize_t length = pread64(from, bytes, sizeof bytes, 0);
    int own = -1;
    if (length < 0 && (own = from = real_open64(path, O_RDONLY | O_CLOEXEC)) < 0) end(path);
    while ((length = pread64(from, bytes, sizeof bytes, at)) > 0) {
        put(to, bytes, (size_t)length, at);
        at += length;
    }
    if (own >= 0) real_close(own);
}

/* The file of that name; on first sight it is given its shadow. `found`: it was there before. */
static int file_of(const char *name, const char *path, int fd, int found) {
    for (int i = 0; i < files_length; i++)
        if (!strcmp(files[i].name, name)) return i;
    if (files_length == FILES_MAX || strlen(name) >= sizeof files[0].name) end("too many files");
    struct file *file = &files[files_length];
    strcpy(file->name, name);
    if (shadows) {
        int keep = getenv("FAULTS_KEEP") && !access(place(name, ""), F_OK);
        file->shadow = beside(name, "", O_RDWR | O_CREAT | (keep ? 0 : O_TRUNC));
        file->pending = beside(name, ".pending", O_RDWR | O_CREAT | O_APPEND | (keep ? 0 : O_TRUNC));
        if (!keep && found) copy(fd, path, file->shadow);
        if (!keep && !found) real_close(beside(name, ".new", O_WRONLY | O_CREAT));
    }
    return files_length++;
}

/* ── whose file it is ─────────────────────────────────────────────────────────────────────────── */

/* The name below `folder`, if the path leads there. Paths are absolute, as SQLite makes them, or
 * relative to where the program was started. */
static const char *below(const char *folder, const char *path) {
    static char whole[2 * PATH_BYTES];
    if (!folder || !path) return NULL;
    if (*path != '/') {
        char here[PATH_BYTES];
        if (!getcwd(here, sizeof here)) return NULL;
        while (!strncmp(path, "./", 2)) path += 2;
        snprintf(whole, sizeof whole, "%s/%s", here, path);
        path = whole;
    }
    size_t length = strlen(folder);
    if (strncmp(path, folder, length)) return NULL;
    if (!path[length]) return ".";
    const char *name = path + length + 1;
    if (strstr(name, ".index.db") || strstr(name, ".followers")) return NULL;
    size_t end = strlen(name);
    int memory = end > 4 && !strcmp(name + end - 4, "-shm");
    return path[length] == '/' && *name && !strchr(name, '/') && !memory ? name : NULL;
}

static int kind_of(int fd) { return fd >= 0 && fd < DESCRIPTORS_MAX ? kinds[fd] : STRANGER; }

/* ── what the program calls ───────────────────────────────────────────────────────────────────── */

static int opened(const char *path, int flags, int fd, int found) {
    if (fd < 0 || fd >= DESCRIPTORS_MAX) return fd;
    const char *name = below(state, path);
    kinds[fd] = below(watch, path) ? WATCHED : STRANGER;
    if (name && !strcmp(name, ".")) kinds[fd] = FOLDER;
    else if (name) {
        int index = file_of(name, path, fd, found);
        kinds[fd] = (int16_t)(index + 1);
        if (found && (flags & O_TRUNC)) pend(&files[index], TRUNCATE, 0, NULL, 0);
    }
    return fd;
}

static int opening(const char *path, int flags, mode_t mode) {
    if (!real_open64) begin(); /* A library may open a file before it is our turn to begin. */
    pthread_mutex_lock(&turn);
    int ours = below(state, path) != NULL;
    int found = !ours || !access(path, F_OK);
    struct order order = asked();
    int failed = is(&order, "read-only") && ours && (!found || (flags & O_TRUNC));
    int fd = failed ? -1 : opened(path, flags, real_open64(path, flags, mode), found);
    if (failed) errno = EROFS;
    pthread_mutex_unlock(&turn);
    return fd;
}

/* The mode is there if a file may be made. */
#define MODE_OF(flags, mode)                 \
    mode_t mode = 0;                         \
    if (flags & O_CREAT) {                   \
        va_list arguments;                   \
        va_start(arguments, flags);          \
        mode = va_arg(arguments, mode_t);    \
        va_end(arguments);                   \
    }

int open64(const char *path, int flags, ...) {
    MODE_OF(flags, mode)
    return opening(path, flags, mode);
}
int open(const char *path, int flags, ...) {
    MODE_OF(flags, mode)
    return opening(path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
    MODE_OF(flags, mode)
    if (at == AT_FDCWD || *path == '/') return opening(path, flags, mode);
    return real_openat64(at, path, flags, mode); /* Nothing of ours is opened from a folder. */
}

int close(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS_MAX) kinds[fd] = STRANGER;
    return real_close(fd);
}

/* How much of a write lies before the first border of a page; nothing if it crosses none. */
static size_t first_page(off64_t at, size_t length) {
    size_t part = PAGE_BYTES - (size_t)(at % PAGE_BYTES);
    return part < length ? part : 0;
}

/* One write at an offset: `at` is where the program's own call would write. */
static ssize_t written(int fd, const void *bytes, size_t length, off64_t at) {
    int kind = kind_of(fd);
    struct order order = asked();
    const char *counted = kind == WATCHED ? "watched" : files[kind - 1].name;
    writes += counts(&order, counted);
    int dies = is(&order, "kill-write") && counts(&order, counted) && writes == order.n;
    if (kind == WATCHED) {
        if (dies) die("write", "watched");
        return real_write(fd, bytes, length);
    }
    struct file *file = &files[kind - 1];
    size_t name = strlen(file->name);
    int head = name > 5 && !strcmp(file->name + name - 5, ".head");
    int failed = is(&order, "read-only") ? EROFS : is(&order, "full") && !head ? ENOSPC : 0;
    size_t part = length;
    if (failed || dies) part = first_page(at, length);
    if (failed == EROFS || (dies && order.n % 2 == 0)) part = 0;
    ssize_t done = part ? real_pwrite64(fd, bytes, part, at) : 0;
    if (done > 0) pend(file, WRITE, at, bytes, (size_t)done);
    if (dies) die("write", file->name);
    note("write %s %ld %zu %s\n", file->name, (long)at, length, result(failed));
    if (!failed) return done;
    errno = failed;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!real_write) begin();
    if (kind_of(fd) == STRANGER || kind_of(fd) == FOLDER) return real_write(fd, bytes, length);
    pthread_mutex_lock(&turn);
    /* No file of ours is opened for appending: its position says where it is written. */
    off64_t at = lseek64(fd, 0, SEEK_CUR);
    ssize_t done = written(fd, bytes, length, at);
    if (done > 0 && kind_of(fd) > 0) lseek64(fd, at + done, SEEK_SET);
    pthread_mutex_unlock(&turn);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    if (kind_of(fd) <= 0) return real_pwrite64(fd, bytes, length, at);
    pthread_mutex_lock(&turn);
    ssize_t done = written(fd, bytes, length, at);
    pthread_mutex_unlock(&turn);
    return done;
}
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    return pwrite64(fd, bytes, length, at);
}

int ftruncate64(int fd, off64_t length) {
    if (kind_of(fd) <= 0) return real_ftruncate64(fd, length);
    pthread_mutex_lock(&turn);
    struct file *file = &files[kind_of(fd) - 1];
    struct order order = asked();
    int failed = is(&order, "read-only") ? EROFS : 0;
    int done = failed ? -1 : real_ftruncate64(fd, length);
    if (!done) pend(file, TRUNCATE, length, NULL, 0);
    note("truncate %s %ld %s\n", file->name, (long)length, result(failed));
    pthread_mutex_unlock(&turn);
    if (failed) errno = failed;
    return done;
}
int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static void folder_synced(void) {
    for (int i = 0; shadows && i < files_length; i++) real_unlink(place(files[i].name, ".new"));
}

static int synced(int fd, int (*sync)(int)) {
    int kind = kind_of(fd);
    if (kind == STRANGER || kind == WATCHED) return sync(fd);
    pthread_mutex_lock(&turn);
    struct order order = asked();
    const char *name = kind == FOLDER ? "." : files[kind - 1].name;
    int counted = counts(&order, name);
    syncs += counted;
    if (counted && is(&order, "kill-sync") && syncs == order.n) die("sync", name);
    int failed = counted && ((is(&order, "sync-once") && syncs == order.n)
            || (is(&order, "sync-always") && syncs >= order.n)) ? EIO : 0;
    int done = failed ? -1 : sync(fd);
    if (kind == FOLDER && !done) folder_synced();
    if (kind != FOLDER) settle(&files[kind - 1], !done);
    note("sync %s %s\n", name, result(failed));
    pthread_mutex_unlock(&turn);
    if (failed) errno = failed;
    return done;
}
int fsync(int fd) { return synced(fd, real_fsync); }
int fdatasync(int fd) { return synced(fd, real_fdatasync); }

/* What the program does not do to its journal today, and what would be missed if it did. */

int unlink(const char *path) {
    pthread_mutex_lock(&turn);
    int ours = below(state, path) != NULL;
    struct order order = asked();
    int failed = ours && is(&order, "read-only") ? EROFS : 0;
    int done = failed ? -1 : real_unlink(path);
    if (ours && !done) end("a removal is not provided for");
    pthread_mutex_unlock(&turn);
    if (failed) errno = failed;
    return done;
}

int rename(const char *from, const char *to) {
    pthread_mutex_lock(&turn);
    int ours = below(state, from) || below(state, to);
    pthread_mutex_unlock(&turn);
    if (ours) end("a new name is not provided for");
    return real_rename(from, to);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (kind_of(fd) > 0) end("a write of parts is not provided for");
    return real_writev(fd, parts, count);
}
