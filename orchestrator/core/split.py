"""How a task becomes subtasks: items, filled into the template, layered with what a list entry or an override says.

`expand` is deterministic: the same task, listing and rows always give the same subtasks in the same order. It either
returns subtasks that hold everything the rest of the program relies on, or raises one `SplitError` with every problem:

- ids match `[a-z0-9][a-z0-9._-]*`, are unique, at most 100 characters, fit for a git ref and a file name;
- `needs` names other subtasks and has no cycle;
- every glob stays inside the repository; nothing writable is protected; there is an instruction.

A field is taken from the topmost of three layers that gives it: `overrides.<id>`, the entry of `list`, `subtask`.
Texts that come out empty in a list (`context`, `writable`, `skills`, `needs`) are left out, so that a template can
make an entry depend on a condition. `core.plan` does the same for subtasks that a model proposes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.filling import Filler, Listing, check_globs, check_protected, commands_of
from orchestrator.core.gates import gate_settings, integration_checks
from orchestrator.core.items import MAX_ID, Item, Problems, SplitError, SplitProblem, Where, items_of, normal_id
from orchestrator.core.needs import hint, need_problems
from orchestrator.core.spec import SubtaskFields, TaskSpec
from orchestrator.core.templates import Scope, TemplateFault, render, scope, task_fields
from orchestrator.core.values import Subtask, SubtaskId

__all__ = ["SplitError", "SplitProblem", "expand", "gate_settings", "integration_checks"]


def expand(
    spec: TaskSpec,
    paths: Iterable[str],
    rows: Sequence[Mapping[str, object]] = (),
    sizes: Mapping[str, int] | None = None,
) -> tuple[Subtask, ...]:
    """Return the subtasks of a task that is not planned by a model, in the order of the file.

    `paths` are the repository's files at the base, `rows` the data set's, `sizes` bytes by path (for the weights).
    Raises `SplitError`.
    """
    if spec.split.plan is not None:
        raise SplitError(
            [SplitProblem(("split", "plan"), "a plan is made by a model; it cannot be expanded without it")]
        )
    listing = Listing.of(paths, sizes)
    problems = Problems()
    items = items_of(spec.split, listing.paths, rows, problems)
    drafts = _identified(spec, items, problems)
    known = {draft.id: draft for draft in drafts}
    for key in spec.overrides:
        if normal_id(key) not in known:
            problems.add(("overrides", key), f"there is no subtask `{key}` to override{hint(key, known)}")
    made = [_made(spec, draft, listing, problems) for draft in drafts]
    for where, message in need_problems([(draft.id, draft.needs) for draft in drafts]):
        problems.add(where, message)
    problems.raise_any()
    if not made:
        raise SplitError([SplitProblem(("split",), "the task has no subtasks; it needs at least one")])
    return tuple(subtask for subtask in made if subtask is not None)


@dataclass(slots=True)
class _Draft:
    """An item that has an id: what is left is to fill in its fields."""

    id: SubtaskId
    item: Item
    variables: Scope
    layers: list[tuple[Where, SubtaskFields]]
    needs: list[tuple[Where, SubtaskId]] = field(default_factory=list)

    @property
    def default_title(self) -> str:
        """What the item is called; an entry of `list` is called as its id."""
        return self.id if self.item.listed is not None else self.item.default_id

    def field(self, name: str) -> tuple[Where, object]:
        """Return the topmost layer's value and where it stands; None where no layer gives one."""
        for where, layer in reversed(self.layers):
            value = getattr(layer, name)
            if value is not None:
                return (*where, name), value
        return ("subtask", name), None


def _identified(spec: TaskSpec, items: Sequence[Item], problems: Problems) -> list[_Draft]:
    """Give every item its id and its layers; items without a usable id are reported and left out."""
    overrides = {normal_id(key): (key, fields) for key, fields in spec.overrides.items()}
    drafts: dict[str, _Draft] = {}
    for item in items:
        where, name = _id_of(spec, item, problems)
        if name is None:
            continue
        if name in drafts:
            other = drafts[name].item.label
            problems.add(where, f"the id `{name}` is taken by {other}; write an id that tells them apart", item.label)
            continue
        layers: list[tuple[Where, SubtaskFields]] = [(("subtask",), spec.subtask)]
        if item.listed is not None:
            layers.append((item.where, item.listed))
        if name in overrides:
            key, fields = overrides[name]
            layers.append((("overrides", key), fields))
        variables = scope({"id": name, **item.fields}, task_fields(spec.name, spec.description))
        drafts[name] = _Draft(SubtaskId(name), item, variables, layers)
    return list(drafts.values())


def _id_of(spec: TaskSpec, item: Item, problems: Problems) -> tuple[Where, str | None]:
    if item.listed is not None:
        where, template = (*item.where, "id"), item.listed.id
    elif spec.subtask.id is not None:
        where, template = ("subtask", "id"), spec.subtask.id
    else:
        return item.where, _usable_id(item.default_id, item.where, item.label, problems)
    try:
        text = render(template, scope(item.fields, task_fields(spec.name, spec.description)))
    except TemplateFault as fault:
        problems.add(where, fault.message, item.label, fault.line)
        return where, None
    return where, _usable_id(text, where, item.label, problems)


def _usable_id(text: str, where: Where, label: str, problems: Problems) -> str | None:
    name = normal_id(text)
    if not name:
        problems.add(where, f"{text!r} leaves no id; use ASCII letters or digits, or give `id`", label)
    elif len(name) > MAX_ID:
        problems.add(
            where, f"the id has {len(name)} characters, at most {MAX_ID} are allowed; give a shorter `id`", label
        )
    else:
        return name
    return None


def _made(spec: TaskSpec, draft: _Draft, listing: Listing, problems: Problems) -> Subtask | None:
    """Fill in one subtask; None when something of it is wrong, which is then among the problems."""
    filler = Filler(draft.variables, draft.item.label, problems)
    title_where, title = draft.field("title")
    instruction_where, template = draft.field("instruction")
    instruction = filler.text(instruction_where, template) if template is not None else ""
    if instruction is not None and not instruction.strip():
        problems.add(instruction_where, "there is no `instruction`; say what the agent is to do", draft.item.label)
    writable = filler.texts(*draft.field("writable"), as_glob=True)
    if not writable:
        where = draft.field("writable")[0]
        problems.add(where, "nothing is `writable`; name the files that the change may touch", draft.item.label)
    context = filler.texts(*draft.field("context"), as_glob=True)
    check_globs([*writable, *context], listing, draft.item.label, problems)
    check_protected(writable, spec.gate.protected, draft.item.label, problems)
    draft.needs = [(where, SubtaskId(normal_id(text))) for where, text in filler.texts(*draft.field("needs"))]
    title_text = filler.text(title_where, title) if title is not None else draft.default_title
    skills = filler.texts(*draft.field("skills"))
    commands = commands_of(spec, draft.field("gate"))
    checks = filler.checks(*commands)
    if not commands[1]:
        problems.add(
            commands[0], "there are no checks, so nothing would judge the result; name at least one", draft.item.label
        )
    if filler.failed or not writable or not instruction or title_text is None:
        return None
    chosen = [text for _, text in writable]
    return Subtask(
        id=draft.id,
        title=" ".join(title_text.split()) or draft.id,
        instruction=instruction,
        context=tuple(text for _, text in context),
        writable=tuple(chosen),
        skills=tuple(text for _, text in skills),
        needs=tuple(dict.fromkeys(need for _, need in draft.needs)),
        checks=checks,
        weight=listing.weight(chosen, instruction),
        **_numbers(draft),
    )


def _numbers(draft: _Draft) -> dict[str, int]:
    given = {"context_tokens": draft.field("context_tokens")[1], "max_attempts": draft.field("attempts")[1]}
    return {name: value for name, value in given.items() if isinstance(value, int)}
