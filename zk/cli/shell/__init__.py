"""`zk shell`: the commands of verbs.py at a prompt, over one session. repl.py runs lines, completion.py offers words,
console.py is what the commands stand on here."""
