"""Which build this is: the sources as they are, or compiled to machine code (compiling/hook.py of the source tree)."""

import zk
from zk.model import acl

COMPILED = not str(acl.__file__).endswith(".py")
VERSION = f"zk {zk.__version__}, {'compiled' if COMPILED else 'pure Python'}"
