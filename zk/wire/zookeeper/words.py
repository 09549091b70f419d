"""ZooKeeper's four-letter words: what operators and their monitoring ask a server, and the text it answers."""

WORDS = (
    "ruok",
    "srvr",
    "stat",
    "mntr",
    "conf",
    "cons",
    "crst",
    "dump",
    "envi",
    "srst",
    "wchs",
    "wchc",
    "wchp",
    "dirs",
    "isro",
    "hash",
)
