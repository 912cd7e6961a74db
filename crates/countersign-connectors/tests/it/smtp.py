"""A real SMTP server that writes down what it is given, and misbehaves where an address or a subject
asks it to. Usage: smtp.py FOLDER MODE, with MODE one of none, starttls, tls, bare (no STARTTLS offered).
In FOLDER lie server.pem and server.key; it writes the port to `port`, and to `log` a JSON text a line.
It ends with its standard input. The password is made up."""

import asyncio
import json
import os
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

folder, mode = pathlib.Path(sys.argv[1]), sys.argv[2]


def log(**what):
    with open(folder / "log", "a") as file:
        file.write(json.dumps(what) + "\n")


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, options):
        log(mail=address, tls=session.ssl is not None or mode == "tls", who=bool(session.authenticated))
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        local = address.split("@")[0]
        if local == "nobody":
            return "550 no such mailbox, and not " + "made-up-password"
        if local == "later":
            return "451 come back later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_RSET(self, server, session, envelope):
        log(rset=True)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        content = envelope.content.decode("utf-8", "replace")
        for word, answer in [("AT-END-4", "452 no room"), ("AT-END-5", "554 not wanted")]:
            if word in content:
                log(turned_away=answer)
                return answer
        log(envelope=envelope.rcpt_tos, content=content)
        if "HANG-UP" in content:
            server.transport.abort()
            return "250 OK"
        if "SILENCE" in content:
            await asyncio.sleep(3600)
        return "250 OK"


def authenticator(server, session, envelope, mechanism, data):
    known = data.login == b"mailer" and data.password == b"made-up-password"
    return AuthResult(success=known, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(folder / "server.pem", folder / "server.key")


def connection():
    return SMTP(
        Handler(),
        hostname="localhost",
        authenticator=authenticator,
        auth_required=mode in ("starttls", "tls"),
        auth_require_tls=mode == "starttls",
        require_starttls=mode == "starttls",
        tls_context=context if mode == "starttls" else None,
    )


async def serve():
    loop = asyncio.get_running_loop()
    tls = context if mode == "tls" else None
    server = await loop.create_server(connection, "127.0.0.1", 0, ssl=tls)
    (folder / "port.half").write_text(str(server.sockets[0].getsockname()[1]))
    (folder / "port.half").rename(folder / "port")
    await loop.run_in_executor(None, sys.stdin.read)
    os._exit(0)


asyncio.run(serve())
