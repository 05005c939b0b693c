"""Everything that talks to git: the run's private repository, workspaces, trees for gates, the trunk, the way back.

    command      Git: starts git, hermetically                                    (the only place that starts it)
    repository   Repository: objects, listings, commits, patches, refs of a run
      reader, fast_import, differences: how it reads objects, writes commits, and states changes
    intake       create_bare, open_bare, init_from_checkout, init_from_folder, init_from_url, is_checkout_root
    workspace    BlobWorkspaces: private copies without a checkout                 (port Workspaces)
    trunk        GitTrunk, trunk_ref: the branch of a run                          (port Trunk)
      merging: three-way merge of patches, in memory
    trees        TreePool: recycled checked-out folders for gates                  (port Trees)
      checkout, threads: how a folder is brought to a commit; blocking work that is waited for
    publish      publish, Move, apply_to_checkout, apply_to_folder, is_clean

The user's repository is borrowed from and never written to, but for one ref at the end (`publish`) and on request
(`apply_…`); nothing that is configured there or in a candidate's files runs.
"""
