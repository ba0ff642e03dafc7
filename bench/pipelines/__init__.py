"""
Contenders of ``bench/pipeline.py``, one module each, and what measures them.

A contender has one function, ``run(job)``. It works on the stand-in servers that the job names,
writes below the job's folder, and returns a `measure.Run` once the rows of all events, and of all
their files, are committed; it raises when that does not happen within the job's time.
"""
