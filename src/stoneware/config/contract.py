"""The contract of an image: the runtime config it needs, kept in its manifest, checked before a launch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from typing import Any

from stoneware.config.encoding import to_bytes
from stoneware.config.machine_secrets import secret_targets, secret_values
from stoneware.config.render import (
    Expression,
    Fault,
    TemplateError,
    Variable,
    expressions_of,
    render_template,
    variables_of,
)
from stoneware.config.schema import (
    Schema,
    as_text,
    check_schema,
    is_secret,
    named_variables,
    rule_of,
    schema_defaults,
    violations,
)
from stoneware.config.secrets import MASK, Secret, reveal
from stoneware.config.sizes import environment_problems
from stoneware.config.values import BUILTINS, effective_values
from stoneware.dataclass import dataclass
from stoneware.errors import InputError

Contract = dict[str, Any]
# Which variables there are and which of them are empty: all that decides whether templates render.
Outline = frozenset[tuple[str, bool]]


def _for_run(name: str, example: str, _secret: bool) -> str:
    return f"give it with -e {name}={example}"


def derive_contract(
    templates: Mapping[str, bytes], env: Mapping[str, str], schema: Schema | None
) -> Contract:
    """Return an image's contract as JSON data, from its templates (path → text), its ENV and its schema.

    `{"variables": {NAME: {"required", "secret", "builtin", "templates": ["PATH:LINE", …], "default"}},
    "needs": [{"text", "at": ["PATH:LINE", …]}], "env": {…}, "schema": {…} | None}`. `needs` are the
    templates' expressions, so that a check can run the interpolation program without the templates;
    `env` holds the schema's defaults and the image's ENV over them: what the image must carry as its env.
    Raises InputError for a wrong schema and TemplateError with the faults of all templates at once.
    """
    if schema is not None:
        check_schema(schema)
    uses: dict[str, list[tuple[str, Variable]]] = {}
    needs: dict[str, list[str]] = {}
    faults: list[Fault] = []
    for path in sorted(templates):
        try:
            for use in variables_of(templates[path], path):
                uses.setdefault(use.name, []).append((path, use))
            for expression in expressions_of(templates[path], path):
                _note(needs, path, expression)
        except TemplateError as error:
            faults.extend(error.faults)
    if faults:
        raise TemplateError(faults)
    defaults = {**schema_defaults(schema), **env}
    names = sorted({*uses, *env, *named_variables(schema)})
    return {
        "variables": {name: _entry(name, uses.get(name, []), defaults, schema or {}) for name in names},
        "needs": [{"text": text, "at": at} for text, at in needs.items()],
        "env": defaults,
        "schema": schema,
    }


def _note(needs: dict[str, list[str]], path: str, expression: Expression) -> None:
    # Only names and messages matter here, so bytes that JSON cannot hold may become question marks.
    text = to_bytes(expression.text).decode(errors="replace")
    needs.setdefault(text, []).append(f"{path}:{expression.line}")


def _entry(
    name: str, uses: list[tuple[str, Variable]], defaults: Mapping[str, str], schema: Schema
) -> dict[str, Any]:
    # A default makes any use safe, so a variable that has one is never required.
    wanted = any(use.required for _, use in uses) or name in schema.get("required", ())
    entry: dict[str, Any] = {
        "required": wanted and name not in defaults and name not in BUILTINS,
        "secret": is_secret(schema, name),
        "builtin": name in BUILTINS,
        "templates": list(dict.fromkeys(f"{path}:{use.line}" for path, use in uses)),
    }
    written = [use.default for _, use in uses if use.default is not None]
    if name in defaults:
        entry["default"] = defaults[name]
    elif written:
        entry["default"] = to_bytes(written[0]).decode(errors="replace")
    return entry


@dataclass
class _Problem:
    """What is wrong with one variable; `where` names the places that need it."""

    name: str
    reasons: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)

    def add(self, reasons: Iterable[str], where: Iterable[str] = ()) -> None:
        """Note what is wrong, and where, once each."""
        self.reasons = list(dict.fromkeys([*self.reasons, *reasons]))
        self.where = list(dict.fromkeys([*self.where, *where]))


def check_config(
    contract: Contract,
    values: Mapping[str, str | Secret],
    *,
    secrets: Mapping[str, Secret | None] | None = None,
    builtins: Mapping[str, str] | None = None,
    advice: Callable[[str, str, bool], str] = _for_run,
    rendered: set[Outline] | None = None,
) -> list[str]:
    """Hold runtime config against an image's contract and return every problem, each with what to type.

    `values` is the config alone; the image's ENV comes from the contract. `secrets` are the machine's, by
    target below /run/secrets; None where the value is not known here, which counts as a good one. Built-ins
    that are not known yet get stand-ins. An empty list means that the machine's templates will render.
    `advice` says how to give a variable, from its name, an example and whether it is a secret. `rendered`
    remembers what has rendered with this contract, for callers that check the configs of many machines.
    """
    from_secrets = secret_values(contract, secrets or {})
    unknown = {name for name, value in from_secrets.items() if value is None}
    values = {
        **values,
        **{name: Secret(MASK) if value is None else value for name, value in from_secrets.items()},
    }
    everything = effective_values(contract["env"], values, {**BUILTINS, **(builtins or {})})
    problems: dict[str, _Problem] = {}
    # Whether templates render depends on which variables are empty, and not on their values.
    outline = frozenset((name, bool(value)) for name, value in everything.items())
    faults = [] if outline in (rendered or ()) else _template_faults(contract, everything)
    if rendered is not None and not faults:
        rendered.add(outline)
    for fault, places in faults:
        name, reasons = _read_fault(fault, everything)
        problems.setdefault(name, _Problem(name)).add(reasons, places)
    for name, reason in [*_secret_faults(from_secrets), *_schema_faults(contract, values, everything)]:
        # A secret whose value is not known here is masked: the schema would judge the mask.
        if name not in unknown:
            problems.setdefault(name, _Problem(name)).add([reason])
    sources = secret_targets(contract, secrets or {})
    # Secrets stay out of the service's environment, so they take no room there.
    plain = {name: reveal(value) for name, value in everything.items() if name not in from_secrets}
    return [
        *(_sentence(problem, contract, everything, sources, advice) for problem in problems.values()),
        *environment_problems(plain),
    ]


def _secret_faults(values: Mapping[str, Secret | None]) -> Iterable[tuple[str, str]]:
    for name, value in values.items():
        if value is not None and "\0" in value.reveal():
            yield name, "must not hold a NUL byte"


def _masked(values: Mapping[str, str | Secret], contract: Contract) -> dict[str, str]:
    """Put asterisks for secrets: whether templates render depends on empty or not, and messages may quote."""
    hidden = secret_names(contract, values)
    return {name: MASK if name in hidden and value else reveal(value) for name, value in values.items()}


def _template_faults(contract: Contract, values: Mapping[str, str | Secret]) -> list[tuple[Fault, list[str]]]:
    """Render all expressions of all templates in one go; return each fault with the places it concerns."""
    owner: list[tuple[Mapping[str, Any], int]] = []
    lines: list[str] = []
    for need in contract["needs"]:
        # All expressions in one text, so that awk runs once; `owner` maps its lines back to templates.
        lines.append(need["text"])
        owner += [(need, offset) for offset in range(need["text"].count("\n") + 1)]
    try:
        if lines:
            text = to_bytes("\n".join(lines))
            render_template(text, _masked(values, contract), filename="templates")
    except TemplateError as error:
        return [(fault, _places(*owner[fault.line - 1])) for fault in error.faults]
    return []


def _places(need: Mapping[str, Any], offset: int) -> list[str]:
    split = (place.rpartition(":") for place in need["at"])
    return [f"{path}:{int(line) + offset}" for path, _, line in split]


def _read_fault(fault: Fault, values: Mapping[str, str | Secret]) -> tuple[str, list[str]]:
    """Return the variable a fault of rendering is about and what is wrong, with the template's own words."""
    words = fault.reason.removeprefix("required ").removeprefix("variable ")
    name, _, rest = words.partition(" ")
    reasons = ["must not be empty" if name in values else "is not set"]
    _, colon, message = rest.partition("is missing a value: ")
    return name, [*reasons, message] if colon else reasons


def _schema_faults(
    contract: Contract, given: Mapping[str, str | Secret], everything: Mapping[str, str | Secret]
) -> Iterable[tuple[str, str]]:
    schema = contract["schema"]
    if not schema:
        return
    ruled = {*schema.get("properties", {}), *schema.get("required", ()), *given} & set(everything)
    held = {
        name: reveal(everything[name])
        for name in sorted(ruled)
        if name in given or not _unruled(schema, name)
    }
    for name, rules in violations(schema, held).items():
        for rule in rules:
            if rule == "required":
                yield name, "is not set"
            elif rule == "unknown":
                yield name, "is not a variable of this image (its schema allows no others)"
            else:
                yield name, rule if name else f"the config as a whole: {rule}"


def _unruled(schema: Schema, name: str) -> bool:
    return name in BUILTINS and name not in schema.get("properties", {})


def _sentence(
    problem: _Problem,
    contract: Contract,
    values: Mapping[str, str | Secret],
    sources: Mapping[str, str],
    advice: Callable[[str, str, bool], str],
) -> str:
    if not problem.name:
        return "; ".join(problem.reasons)
    schema = contract["schema"] or {}
    rule = rule_of(schema, problem.name)
    missing = "is not set" in problem.reasons
    shown = problem.name
    if problem.name in values and not missing:
        value = reveal(values[problem.name])
        secret = isinstance(values[problem.name], Secret) or is_secret(schema, problem.name)
        shown += " (a secret)" if secret else f"={value[:80]!r}"
    text = f"{shown}: {', '.join(problem.reasons)}" if not missing else f"{shown} is not set"
    others = [reason for reason in problem.reasons if reason != "is not set"] if missing else []
    text += f" ({', '.join(others)})" if others else ""
    if problem.where:
        text += f"; needed by {', '.join(problem.where[:3])}"
        text += f" and {len(problem.where) - 3} more" * (len(problem.where) > 3)
    if "is not a variable of this image" in text:
        return f"{text}{_nearest(problem.name, contract)}"
    if problem.name in sources:
        return f"{text}; it is the secret {sources[problem.name]}"
    return f"{text}; {advice(problem.name, _example(rule), is_secret(schema, problem.name))}"


def _example(rule: Mapping[str, Any]) -> str:
    choices = rule.get("enum") or rule.get("examples")
    if isinstance(choices, list) and choices and rule.get("secret") is not True:
        return as_text(choices[0])
    return "…"


def secret_names(contract: Contract, values: Mapping[str, str | Secret] | None = None) -> set[str]:
    """Return the variables whose values must not be shown: marked by the schema, or given as a Secret."""
    marked = {name for name, entry in contract["variables"].items() if entry["secret"]}
    return marked | {name for name, value in (values or {}).items() if isinstance(value, Secret)}


def config_warnings(contract: Contract, given: Iterable[str], secrets: Iterable[str] = ()) -> list[str]:
    """Return a warning for each given variable that has no effect here, with the nearest known name.

    `secrets` are targets below /run/secrets.
    """
    warnings = []
    schema = contract["schema"] or {}
    from_secrets = secret_targets(contract, secrets)
    for name in given:
        if name in BUILTINS:
            warnings.append(f"{name} is set by Stoneware in every machine; the given value is not used")
        elif name in from_secrets:
            warnings.append(
                f"{name} is given as a value and by the secret {from_secrets[name]}; the secret counts"
            )
        elif name not in contract["variables"] and schema.get("additionalProperties") is not False:
            known = "is not in this image's templates, ENV or schema; only its service gets it"
            warnings.append(f"{name} {known}{_nearest(name, contract)}")
    return warnings


def _nearest(name: str, contract: Contract) -> str:
    # `port` for `PORT` is the most frequent slip.
    known = {entry.upper(): entry for entry in contract["variables"] if entry != name}
    import difflib  # for a mistake only

    close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.75)
    return f" (did you mean {known[close[0]]}?)" if close else ""


def require_config(
    contract: Contract,
    values: Mapping[str, str | Secret],
    *,
    image: str,
    secrets: Mapping[str, Secret | None] | None = None,
    builtins: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the warnings about a config, or raise InputError with every problem of it at once.

    `secrets` as for `check_config`.
    """
    problems = check_config(contract, values, secrets=secrets, builtins=builtins)
    if problems:
        raise InputError(
            f"{image} cannot start with this config: {len(problems)} problem{'s' * (len(problems) > 1)}",
            details="\n".join(problems),
            resolution=f"stoneware render {image} -e NAME=value    # shows the final files without booting",
        )
    return config_warnings(contract, values, secrets or ())
