"""Where everything is put together: the only room that names concrete classes, reads the environment, and imports SDKs.

`surroundings` is what the program finds around it, `backends` turns a configuration into a backend, `runs` starts and
resumes runs, `history` reads the runs that there are.
"""
