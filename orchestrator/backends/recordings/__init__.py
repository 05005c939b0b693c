"""Record and replay: what was asked of a model and what it answered, in a folder that another run can be played from.

    RecordingModel(model, Recording.create(folder, secrets), clock)     keeps every exchange of the model inside
    ReplayModel(Recording.open(folder), clock)                          answers from there; asks nobody

`exchanges` says what is kept and when two requests are the same, `redaction` what is never written, `folder` how it is
kept, `differences` why a request is not among those that were recorded.
"""
