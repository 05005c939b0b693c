"""Edits: what a reply may look like, how it is read, and how it is put onto files, all of it or nothing.

`blocks`, `whole` and `patch` are the formats, `formats` names them; `apply` puts edits onto files and `locate` finds the place;
`diff` reads and makes unified diffs.
"""
