"""The run files: what a run did, as files for people, in a folder of its own.

The default project's runs lie where the first version had them, `<root>/<run_id>/`. A run of another project
lies in `<root>/_projects/<project>/<run_id>/`; no run id begins with an underscore, so the two never meet.

They follow the tables, not the log: whenever the tables have passed an offset, the files of each run that
changed are written from its rows. A file is whole or not there, also after a power cut once its run has ended; it
is written only by what knows more events of its run than its folder does.
"""
