"""Everything that talks to git: the run's private repository, workspaces, trees for gates, the trunk."""
