"""What people write, read and judged: task files, data sets, skills and backend configurations.

    load_task      tasks/*.yaml           → LoadedTask, then expand_task → subtasks
    load_skills    skills/*/SKILL.md      → Skill by name
    load_config    configs/*.yaml         → LoadedConfig, then parse_config → the backend's own settings

A wrong file raises one `SpecError` with every mistake in it, each as `file:line: what is wrong; what to write instead`.
`wiring` calls this and hands the values on; nothing else reads these files.
"""

from orchestrator.catalog.configs import LoadedConfig, config_names, find_config, load_config, parse_config
from orchestrator.catalog.schema import schema_text, task_schema
from orchestrator.catalog.skills import load_skill, load_skills
from orchestrator.catalog.tasks import LoadedTask, expand_task, load_task

__all__ = [
    "LoadedConfig",
    "LoadedTask",
    "config_names",
    "expand_task",
    "find_config",
    "load_config",
    "load_skill",
    "load_skills",
    "load_task",
    "parse_config",
    "schema_text",
    "task_schema",
]
