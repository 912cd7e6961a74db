//! Private keys made up for these tests. Nothing trusts them; nothing may.

/// RSA, 2048 bits: PKCS#1, base64.
pub(super) const RSA: &str = "\
    MIIEpAIBAAKCAQEAplwtqU4AP/Z5SFGr+W3wKf4doXgkUQ0ttFfv6VELrUuBNfUvS/uvHcF1uw0FOnqwc08aa3kTAAbZ\
    U1eoNqdQuM24s2G2djIoyx7lurv/k7yxuKYVHCbiF2NEEp/0aimpDKplhe0L6Ya5m53nQFWpKmz6Pw8cEoKMwM1wPlJ9\
    3NxlWDeU/Hcrt+mAGTWgV1uQ6N4XPpOo+97gyrM8H6sygY/jLddtIkrenDv3FhWaUgHLQEjkO+IggASgHQ2+GtbHyrie\
    CfoEY0sjDNDaJQufGMry0tvDPmp+NJ3RDq1cMX5rwUGI+jASdWRUHK++Kpi9OmW7ZfzzeasgdeEqPxZGTwIDAQABAoIB\
    ABPIDIfqu1M1FXkuI6MOWbXsk7e9B6MkTDB7GmR7G3EuSWgnRkn53KSkT0Gq4S8cd/nQyKVJ6Xf3Ldq1UXkPjnotwCOD\
    CsVliSiUp8rQtanAEL6SRRqqsaIH+YgLbBk+6JfrH7+mjw7kKGg4L6THQCJy1ejZ/O5jMVBwZ+3eij0mPdGPLs7g7DTa\
    U8QPOY8P05ztcs8Frb1Le6EpGZ2RpLFADrJ/SiQEB/a2azuTDz19rS0ekkDfF1xQwlNgi4V5J/JHX4UHYlKs+BDZT4w3\
    vSPzS7Xwo9f/K9aebSQME6H0jzeRxSflIcAhgc765DyQ9k/FDUNzddGdegtS/TG0B/kCgYEA5qaOx5b6Tl8rCX7EVdzo\
    xgSf7UaDNmpH5wov0AbDThrriaLjy2WmE5pL2S1qlF3FKkdJS+cre05SXhiPWXWp//Z9YSz0yoJcNMNQCh1/VMwrB6Ag\
    lh8S5wkYcBpYAgffwP0n/z2iX6MEEncnNR/J0XqUbSYSMIa/TL23tGPiNBkCgYEAuKTIKD42b3fsdhkLQLZVYUSrJjmY\
    qOpjihOq2FAY8jULsFft9H0cPSJC7J3aGVLHRQkluPKz+gzwHHFdfE12lRJFOFPk0Xon4s/ROqJwybRbu1lO6ba6hpqN\
    mtJhaz5vcxA8tVAjAtfJtCSFp11jbpScyvCbrPEjNqqvxRSR2qcCgYBE2nvNATj/pFFIqFsb9rJWSpMjVeVdnSSRx+y2\
    AQ7UhhzCHao60cFeILV7w58JY2S0Vkt/KSdFy/+yr0o7vnBdRMvw8maw/XFhHt0J5/xW6AwAXsDbj7Mo3QI6lOKo2Ijn\
    J6uE+nU6b4OLr544saChtCIS40aSzebVldz9MMQaIQKBgQCPGS4Cekyn0PJSiJA/A9BhxN07j7GvX4/rR9jFMjZTKCc5\
    8Lt7GqcS/gWN6bxIme3TpAY3Mumm5fYEpRtFpac8Wt+IiwQwEJLu5g6KebAdsojRRqKw4Kvoe8k47skPW2D2dOQHxOaN\
    Yn1w/kkS736LCeQGJ7kOrAeVa20zuQBcywKBgQCkt3l7boA6s5sk4LcWaECsl89wjEWH/R0KhN874zHbehPI9wD9iGuk\
    fcnj01ADnG4K7hSlzDXUvcuvGvhg9TaJUZlahxi/aTj/PFDd7PV6j2t8ovQYxYuyLsXWPSkow7lRZbcZTmpXg/PP13I+\
    2VMuJy9bZ1GyHB0b9XJNK6/t/A==";

/// P-256: PKCS#8, base64.
pub(super) const P256: &str = "\
    MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgzZTdrwXrTXjeXsXdBP1YE6qrkKFGWtbJ0nNJi54bv7Oh\
    RANCAAQeb5pf8c3hieVrNzxHzaWAbQkY9U+TufCl6RmtnTNF5r7ei0jcsiRyzc3W99h/NXdv5LDB/46fWdwjsNLqgyw+";
