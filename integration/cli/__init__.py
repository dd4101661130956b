"""The command line: words in, words out. Results go to standard output, everything else to standard error.

Heavy libraries are imported inside the commands, so that `headrace --help` and shell completion stay quick.
"""
