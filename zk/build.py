"""Which build this is: the sources as they are, or compiled to machine code (compiling/hook.py of the source tree)."""

from zk.model import acl

COMPILED = not str(acl.__file__).endswith(".py")
