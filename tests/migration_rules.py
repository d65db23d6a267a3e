"""What a migration may not do while the product runs: hold a big table, or pull away what the release before it uses.

`objections` reads the operations of a migration; docs/operations.md tells what to do instead.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final

from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, RemoveIndexConcurrently
from django.db import connection, models
from django.db.migrations import Migration, operations
from django.db.migrations.state import ProjectState
from django.db.models.expressions import DatabaseDefault, Value

OURS: Final = ("accounts", "packs", "settlement")
SMALL: Final = {
    "accounts.apikey", "accounts.endpoint", "accounts.endpointsecret",
    "packs.item", "packs.packtype", "packs.sku", "packs.skuprice", "packs.tariffprice",
    "settlement.alarm", "settlement.expiredday", "settlement.settlementrun", "settlement.usagerefusal",
}  # fmt: skip
"""Tables that stay small for ever; every other, and every new one, is taken for big."""
HARMLESS_SQL: Final = (
    r"CREATE (UNIQUE )?INDEX CONCURRENTLY\b",
    r"DROP INDEX CONCURRENTLY\b",
    r"ALTER TABLE \S+ ADD CONSTRAINT .* NOT VALID$",
    r"ALTER TABLE \S+ VALIDATE CONSTRAINT\b",
    r"ALTER TABLE \S+ (RE)?SET \(",
    r"ALTER TABLE \S+ ALTER COLUMN \S+ SET (STATISTICS|DEFAULT|STORAGE)\b",
    r"(CREATE|DROP) (OR REPLACE )?TRIGGER\b",
    r"CREATE (OR REPLACE )?FUNCTION\b",
    r"COMMENT ON\b",
)
ALWAYS_FREE: Final = (
    operations.CreateModel,
    operations.AlterModelOptions,
    operations.AlterModelManagers,
    operations.RenameIndex,
    operations.RemoveConstraint,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
    AddConstraintNotValid,
)
PULLED_AWAY: Final = (
    operations.RemoveField,
    operations.RenameField,
    operations.DeleteModel,
    operations.RenameModel,
    operations.AlterModelTable,
)
WAITED_FOR: Final = {
    operations.AddIndex: "writers wait until it is built: AddIndexConcurrently",
    operations.RemoveIndex: "everybody waits for its lock: RemoveIndexConcurrently",
    operations.AddConstraint: (
        "everybody waits while all rows are read: AddConstraintNotValid, and ValidateConstraint in the next one"
    ),
    operations.AlterUniqueTogether: "everybody waits while all rows are read",
    operations.AlterOrderWithRespectTo: "everybody waits while all rows are written",
}


def objections(migration: Migration, before: ProjectState) -> list[str]:
    """Why a migration must not be applied while the product runs; `before` is the state that it starts from."""
    state, found = before.clone(), list[str]()
    made: set[str] = set()
    for operation in migration.operations:
        after = state.clone()
        operation.state_forwards(migration.app_label, after)
        if isinstance(operation, operations.CreateModel):
            made.add(f"{migration.app_label}.{operation.name_lower}")
        for why in _of(operation, migration.app_label, state, after, made):
            found.append(f"{migration.app_label}.{migration.name}: {operation.describe()}: {why}")
        state = after
    return found


def _of(operation: Any, app: str, before: ProjectState, after: ProjectState, made: set[str]) -> Iterator[str]:
    if isinstance(operation, operations.SeparateDatabaseAndState):
        for inner in operation.database_operations:
            yield from _of(inner, app, before, after, made)
        return
    model = f"{app}.{getattr(operation, 'model_name_lower', getattr(operation, 'name_lower', ''))}"
    if isinstance(operation, PULLED_AWAY) and model not in made:
        yield "the release before this one still uses it: stop using it in one release, remove it in the next"
    elif isinstance(operation, ALWAYS_FREE) or model in SMALL | made:
        return
    elif isinstance(operation, (operations.RunPython, operations.RunSQL)):
        yield from _by_hand(operation, after)
    elif isinstance(operation, operations.AddField):
        yield from _added(operation.field)
    elif isinstance(operation, operations.AlterField):
        yield from _altered(*(_column(state, app, operation) for state in (before, after)))
    else:
        yield from (why for kind, why in WAITED_FOR.items() if isinstance(operation, kind))


def _added(field: Any) -> Iterator[str]:
    if isinstance(field, models.ManyToManyField):
        return
    if isinstance(field, models.GeneratedField):
        yield "the table is written anew"
        return
    if field.remote_field and field.db_constraint:
        yield "everybody waits while all rows are read: db_constraint=False, and the constraint as NOT VALID"
    if field.db_index or field.unique:
        yield "everybody waits until its index is built: AddIndexConcurrently in a migration of its own"
    if not field.null and not field.has_db_default():
        yield "the release before this one inserts rows without it: null=True or a db_default"
    if field.has_db_default() and not isinstance(field.db_default, Value):
        default = field.db_default
        if isinstance(default, (models.Expression, DatabaseDefault)):
            yield "its default is computed for each row, so the table is written anew: a constant"


def _column(state: ProjectState, app: str, operation: Any) -> Any:
    return state.apps.get_model(app, operation.model_name)._meta.get_field(operation.name)


def _altered(old: Any, new: Any) -> Iterator[str]:
    types = [field.db_parameters(connection)["type"] for field in (old, new)]
    if types[0] != types[1] and not _wider(*types):
        yield f"the table is written anew, from {types[0]} to {types[1]}: a new column beside it"
    if old.null and not new.null:
        yield "everybody waits while all rows are read: a CHECK as NOT VALID, validated before"
    if (new.db_index or new.unique) and not (old.db_index or old.unique):
        yield "everybody waits until its index is built: AddIndexConcurrently"


def _wider(old: str, new: str) -> bool:
    """Whether a text becomes longer, which PostgreSQL only notes."""
    lengths = [re.fullmatch(r"varchar\((\d+)\)", text) for text in (old, new)]
    if lengths[0] and new == "text":
        return True
    return bool(lengths[0] and lengths[1] and int(lengths[1][1]) >= int(lengths[0][1]))


def _by_hand(operation: Any, state: ProjectState) -> Iterator[str]:
    big = {
        label: model
        for label, model in ((m._meta.label_lower, m) for m in state.apps.get_models())
        if label.partition(".")[0] in OURS and label not in SMALL and not model._meta.proxy
    }
    if isinstance(operation, operations.RunPython):
        source = inspect.getsource(operation.code)
        for model in big.values():
            if re.search(rf"\b{model.__name__}\b", source) or model._meta.db_table in source:
                yield f"it goes over {model._meta.db_table} in one transaction: a command that goes in steps"
        return
    sql = operation.sql if isinstance(operation.sql, str) else "\n;".join(str(part) for part in operation.sql)
    for statement in (" ".join(part.split()) for part in sql.split(";")):
        for model in big.values():
            named = re.search(rf"\b{model._meta.db_table}\b", statement)
            if named and not any(re.match(pattern, statement, re.IGNORECASE) for pattern in HARMLESS_SQL):
                yield f"it may lock {model._meta.db_table}: {statement[:80]}"
