"""The border: a user's X and y become trusted cells.

Owns reading and checking of input, offset and scale, unfolding of modes, numbering of cells, and
what is said of cells that cannot tell enough. Imports nothing of the package.
"""
