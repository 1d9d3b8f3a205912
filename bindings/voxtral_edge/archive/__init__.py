"""Archives: any number of files, each transcribed exactly once, on one machine or on many.

A foreman hands sources out to workers, writes what they give back, and notes each in the manifest
of results; workers only compute. So whatever is killed, one process alone has to keep the promise.
"""
