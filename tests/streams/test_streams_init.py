import plora.streams
from plora.streams import STREAMS, StreamSource


def test_the_table_is_keyed_by_kind() -> None:
    for kind, source in STREAMS.items():
        assert issubclass(source, StreamSource)
        assert source.model_fields["kind"].default == kind


def test_every_field_is_documented() -> None:
    # The description under a field is what the documentation and the command line show.
    import ast
    import inspect

    for source in STREAMS.values():
        for owner in source.__mro__:
            if not owner.__module__.startswith("plora.streams"):
                continue
            (tree,) = ast.parse(inspect.getsource(owner)).body
            assert isinstance(tree, ast.ClassDef)
            for field, below in zip(tree.body, [*tree.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and ast.unparse(field.target) != "kind":
                    assert isinstance(below, ast.Expr), (owner.__name__, ast.unparse(field.target))


def test_all_names_what_exists() -> None:
    assert all(hasattr(plora.streams, name) for name in plora.streams.__all__)
    assert len(set(plora.streams.__all__)) == len(plora.streams.__all__)
