"""Where parts are joined into what the commands do.

Commands import the module they need, and only when they run: together they load everything headrace is made of.
"""
