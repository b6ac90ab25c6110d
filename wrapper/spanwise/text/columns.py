"""Source columns: tokens with their role, what is frozen, and what is put together to one feature.

Example, messages of one user, features="word", and BOS before them:

    positions   <s>  <user>  Par  is  ' is'  </user>     template and special tokens are frozen: NaN, never changed
    columns     <s>  <user>  Paris    ' is'  </user>     each frozen token stays a column of its own
"""

import dataclasses
from collections.abc import Mapping, Sequence

from spanwise.attribution import Token
from spanwise.errors import InputError, OptionError
from spanwise.text.assignment import assign
from spanwise.text.composing import Composed
from spanwise.text.encoding import Encoding
from spanwise.text.parts import Characters, Part
from spanwise.text.segments import segments
from spanwise.text.selection import select
from spanwise.text.spans import SpanLike


def source_tokens(
    encoding: Encoding, composed: Composed, *, frozen: str, prefix: str, source: SpanLike | Sequence[SpanLike] | None
) -> tuple[Token, ...]:
    """Returns one column a position: the prompt, then the generated prefix, each token marked frozen or not.

    Args:
        encoding: Prompt and target.
        composed: How the prompt came about.
        frozen: "special": special and template tokens are frozen; "none": they are not.
        prefix: "fixed": the generated prefix is frozen; "attributed": it is not.
        source: The part of the prompt that is not frozen; None: all of it.

    Raises:
        InputError: Every position is frozen, or the selection is empty.
    """
    prompt = with_roles(encoding.prompt_tokens, composed.parts)
    selected = select(source, composed, prompt)
    columns = []
    for position, token in enumerate(prompt):
        still = (frozen == "special" and (token.special or token.template)) or position not in selected
        columns.append(dataclasses.replace(token, frozen=still, positions=(position,)))
    for position, token in enumerate(encoding.target_tokens[:-1], start=len(prompt)):
        still = prefix == "fixed" or (frozen == "special" and token.special)
        columns.append(dataclasses.replace(token, role="prefix", frozen=still, positions=(position,)))
    if all(token.frozen for token in columns):
        if source is not None:
            raise InputError(f"source={source!r} holds special or template tokens only, which are frozen.")
        raise InputError(
            f"nothing is left to attribute to: all {len(prompt)} tokens of the prompt are special or template tokens, "
            "which are frozen. frozen='none' attributes to them."
        )
    return tuple(columns)


def with_roles(tokens: Sequence[Token], parts: Sequence[Part]) -> list[Token]:
    """Returns the tokens with the role of the part of a chat that each lies in.

    A token that holds characters of a content and of the template counts as content.
    """
    if not parts:
        return list(tokens)
    found = []
    for token in tokens:
        inside = [part for part in parts if part.start < token.end and part.end > token.start]
        content = [part for part in inside if part.kind == "content"]
        part = next((each for each in content if _blackened(token, each)), None)
        if part is None:  # white space only, or nothing: content where it lies in nothing else
            part = content[0] if content and len(content) == len(inside) else None
        if part is None:
            found.append(dataclasses.replace(token, role="template", template=True))
        else:
            found.append(dataclasses.replace(token, role=part.role, message=part.message))
    return found


def _blackened(token: Token, part: Part) -> bool:
    """Whether the token has a character in the part that is not white space."""
    first, last = max(token.start, part.start), min(token.end, part.end)
    return bool(token.text[first - token.start : last - token.start].strip())


def grouped(tokens: Sequence[Token], target_text: str, composed: Composed) -> tuple[tuple[Token, ...], tuple[int, ...]]:
    """Returns the columns: tokens that belong to one feature put together, every other token for itself.

    Args:
        tokens: One a position, from `source_tokens`.
        target_text: The target, to whose characters the generated prefix's tokens point.
        composed: What the features are.

    Returns:
        The columns, in the order of their first position, and for each the index of its group in `composed.groups`, -1
        where it has none.

    Raises:
        OptionError: Two features share a token, or a feature holds special or template tokens only.
    """
    if composed.level == "token":
        return tuple(tokens), (-1,) * len(tokens)
    if composed.groups:
        tokens, of_token = _by_groups(tokens, composed)
    else:
        of_token = by_level(tokens, target_text, composed)
    members: dict[tuple[int, int], list[Token]] = {}
    for position, (token, feature) in enumerate(zip(tokens, of_token, strict=True)):
        members.setdefault((feature, -1 if feature >= 0 else position), []).append(token)
    columns = []
    for (feature, _), each in members.items():
        column = _joined(each, target_text if each[0].role == "prefix" else composed.text) if feature >= 0 else each[0]
        named = composed.names and feature >= 0
        columns.append(dataclasses.replace(column, name=composed.names[feature]) if named else column)
    return tuple(columns), tuple(feature if composed.groups else -1 for feature, _ in members)


def places(column: Token, tokens: Mapping[int, Token] | Sequence[Token], text: str) -> list[Characters]:
    """Returns the characters [start, end) of a column without white space at their edges: one span a run of positions.

    Args:
        column: One or several positions.
        tokens: One a position.
        text: What their characters are counted in.
    """
    runs: list[list[int]] = []
    for before, position in zip((None, *column.positions), column.positions, strict=False):
        token = tokens[position]
        if before is not None and position == before + 1:
            runs[-1][1] = max(runs[-1][1], token.end)
        else:
            runs.append([token.start, token.end])
    found = []
    for start, end in runs:
        run = text[start:end]
        start, end = start + len(run) - len(run.lstrip()), start + len(run.rstrip())
        found.append((min(start, end), end))
    return found


def _joined(members: Sequence[Token], text: str) -> Token:
    """Returns the column of a feature, without the white space at its edges."""
    first, by_position = members[0], {token.positions[0]: token for token in members}
    column = dataclasses.replace(
        first,
        id=first.id if len(members) == 1 else -1,
        end=max(token.end for token in members),
        positions=tuple(by_position),
    )
    runs = [run for run in places(column, by_position, text) if run[0] < run[1]]
    if not runs:  # white space only, or no text at all
        return dataclasses.replace(column, text=text[column.start : column.end])
    joined = " … ".join(text[start:end] for start, end in runs)
    return dataclasses.replace(column, text=joined, start=runs[0][0], end=runs[-1][1])


def by_level(tokens: Sequence[Token], target_text: str, composed: Composed) -> list[int]:
    """Returns for each token its segment's number, counted over the whole source, or -1 where it stands alone.

    Segments never cross from one message to another, to the template, or to the generated prefix.
    """
    found, count = [-1] * len(tokens), 0
    by_part: dict[tuple[object, ...], list[int]] = {}
    for position, token in enumerate(tokens):
        by_part.setdefault((token.role, token.message, _run(tokens, position)), []).append(position)
    for positions in by_part.values():
        part = [tokens[position] for position in positions]
        start, end = part[0].start, max(token.end for token in part)
        whole = (target_text if part[0].role == "prefix" else composed.text)[start:end]
        level = composed.level
        cut = [(0, len(whole))] if level == "message" else segments(whole, level)  # type: ignore[arg-type] # a level
        spans = [(start + first, start + last) for first, last in cut]
        for position, segment in zip(positions, assign(part, spans), strict=True):
            token = tokens[position]
            if segment >= 0 and not token.frozen and not token.special:
                found[position] = count + segment
        count += len(spans)
    return found


def _run(tokens: Sequence[Token], position: int) -> int:
    """Returns where the run of template tokens begins that a token is in; 0 for any other token."""
    if not tokens[position].template:
        return 0
    while position and tokens[position - 1].template:
        position -= 1
    return position


def _by_groups(tokens: Sequence[Token], composed: Composed) -> tuple[list[Token], list[int]]:
    """Returns the tokens, those of the prompt outside every group frozen, and the group of each, or -1."""
    kept, of_token = list(tokens), [-1] * len(tokens)
    for position, token in enumerate(tokens):
        if token.role == "prefix":
            continue
        inside = [i for i, spans in enumerate(composed.groups) if touches(token, spans)]
        if len(inside) > 1:
            names = " and ".join(repr(_name(composed, i)) for i in inside)
            raise OptionError(f"the features {names} share the token {token.text!r}: move the border to a token's.")
        if inside and not token.frozen:
            of_token[position] = inside[0]
        kept[position] = dataclasses.replace(token, frozen=token.frozen or not inside)
    for i, spans in enumerate(composed.groups):
        own = [token for token in tokens if touches(token, spans) and token.role != "prefix"]
        if all(token.special or token.template for token in own):
            raise OptionError(
                f"the feature {_name(composed, i)!r} covers no token that can be attributed to: "
                f"{'special or template tokens only' if own else 'it has no token'}."
            )
    return kept, of_token


def touches(token: Token, spans: Sequence[Characters]) -> bool:
    """Whether the token has a character in one of the spans that is not white space."""
    for start, end in spans:
        first, last = max(token.start, start), min(token.end, end)
        if first < last and token.text[first - token.start : last - token.start].strip():
            return True
    return False


def _name(composed: Composed, group: int) -> str:
    if composed.names:
        return composed.names[group]
    start, end = composed.groups[group][0]
    return composed.text[start:end]
