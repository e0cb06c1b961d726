from stoneware.config.encoding import decode, digest, encode
from stoneware.config.envfile import given_values, parse_assignments, parse_env_file
from stoneware.config.render import (
    Fault,
    TemplateError,
    Variable,
    render_file,
    render_template,
    variables_of,
)
from stoneware.config.secrets import MASK, Secret, redact, reveal
from stoneware.config.values import BUILTINS, builtin_values, effective_values

__all__ = [
    "BUILTINS",
    "MASK",
    "Fault",
    "Secret",
    "TemplateError",
    "Variable",
    "builtin_values",
    "decode",
    "digest",
    "effective_values",
    "encode",
    "given_values",
    "parse_assignments",
    "parse_env_file",
    "redact",
    "render_file",
    "render_template",
    "reveal",
    "variables_of",
]
