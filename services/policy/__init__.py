"""What a proposed change may contain: pure rules, each naming what it refuses and how to mend it.

No git, no files, no clock: a change comes in as data, and violations and concerns come out.
"""
