"""Checks the signature of a webhook, as a receiver would: with nothing of the product's own code.

python3 verify_signature.py SECRET_FILE BODY_FILE SIGNATURE
"""

import hashlib
import hmac
import sys


def main() -> int:
    secret_file, body_file, signature = sys.argv[1:]
    with open(secret_file, "rb") as file:
        secret = file.read()
    with open(body_file, "rb") as file:
        body = file.read()
    expected = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    return 0 if hmac.compare_digest(expected, signature) else 1


if __name__ == "__main__":
    sys.exit(main())
