"""Bundles whose manifest, or whose trio's, was altered."""

from __future__ import annotations

from collections.abc import Callable

from edgeproxy.trios.bundle.manifest import MAX_FILES
from tests.helpers.bundles import Altered, sha256
from tests.helpers.gguf_files import draft
from tests.helpers.hostile_bundles import Cases, adding_to, model, toml

MANIFESTS: Cases = {}
hostile = adding_to(MANIFESTS)


@hostile("are one file on some systems")
def names_that_differ_in_case(of: Altered) -> None:
    of.put("trios/mini/license", b"evil", at=3)
    of.files.sort(key=lambda row: (row["path"][0] != "I", row["path"][0] == "m", row["path"]))


@hostile("are one file on some systems")
def trios_that_differ_in_case(of: Altered) -> None:
    of.put("trios/MINI/trio.toml", of.data["trios/mini/trio.toml"], at=1)


@hostile("its manifest contradicts itself|belongs to no trio|not in it")
def a_model_left_out_of_list_and_archive(of: Altered) -> None:
    of.files.remove(of.row("models/"))


@hostile("belongs to none of its trios")
def a_model_that_no_trio_names(of: Altered) -> None:
    data = draft().bytes(seed=99)
    of.put(f"models/{sha256(data)}", data)
    models = sorted((row for row in of.files if row["path"][0] == "m"), key=lambda r: r["path"])
    of.files = [row for row in of.files if row["path"][0] != "m"] + models


@hostile("a model is named by its sha256")
def a_model_under_another_name(of: Altered) -> None:
    of.put(model(of), draft().bytes(seed=99))


@hostile("it is cut short")
def a_size_beyond_the_file(of: Altered) -> None:
    of.row("models/")["size"] = 1 << 40


@hostile("which is not 0 to")
def a_size_beyond_all_measure(of: Altered) -> None:
    of.row("models/")["size"] = 1 << 80


@hostile("which is not 0 to 1,048,576 bytes")
def a_text_that_would_fill_the_memory(of: Altered) -> None:
    of.put("trios/mini/LICENSE", b"a" * ((1 << 20) + 1))


@hostile("which is not 0 to")
def a_negative_size(of: Altered) -> None:
    of.row("trios/")["size"] = -1


@hostile("its size is 21.0")
def a_size_that_is_no_whole_number(of: Altered) -> None:
    of.row("trios/")["size"] = 21.0


@hostile("its size is True")
def a_size_that_is_true(of: Altered) -> None:
    of.row("trios/")["size"] = True


@hostile("more than 2,000")
def more_files_than_anybody_needs(of: Altered) -> None:
    for number in range(MAX_FILES):
        of.put(f"trios/mini/a{number:05}", b"", at=2)


def json_case(name: str, change: Callable[[str], str], said: str) -> None:
    """A manifest that is not what it should be, as JSON or as a manifest."""

    def alter(of: Altered) -> None:
        of.manifest = change(of.manifest_bytes().decode()).encode()

    MANIFESTS[f"manifest_{name}"] = (alter, said)


def replacing(old: str, new: str) -> Callable[[str], str]:
    """Put `new` in place of the first `old`."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


FORMAT, ONE = '"edgeproxy bundle"', '"version": 1'
json_case("not_json", lambda text: text[:-3], "not valid JSON")
json_case("empty_list", lambda _: "[]", "not that of an edgeproxy bundle")
json_case("deep", lambda _: "[" * 200_000, "not valid JSON|not that of an edgeproxy bundle")
json_case("text", lambda _: "hello", "not valid JSON")
json_case("not_ascii", replacing("mini", "m\u00efni"), "not valid JSON")
json_case("format", replacing(FORMAT, '"other"'), "not that of an edgeproxy bundle")
json_case("version", replacing(ONE, '"version": 2'), "it is of version 2, .* update this one")
json_case("version_true", replacing(ONE, '"version": true'), "as edgeproxy writes it")
json_case("unknown", replacing(ONE, ONE + ',\n "evil": 1'), "unknown key 'evil'")
json_case("unknown_row", replacing('"size"', '"mode": 1, "size"'), "unknown key files: 'mode'")
json_case("repeated", replacing(ONE, ONE + ",\n " + ONE), "a key stands there twice")
json_case("spaces", replacing("{", "{ "), "as edgeproxy writes it")
json_case("newline", lambda text: text + "\n", "as edgeproxy writes it")
json_case("escapes", replacing("mini", "m\\u0069ni"), "as edgeproxy writes it")
json_case("nan", replacing(ONE, '"version": NaN'), "it is of version nan")
json_case("digits", replacing(ONE, '"version": ' + "9" * 5000), "not valid JSON|of version 9")
json_case("no_files", lambda t: t[: t.index(' "files"')] + ' "files": []\n}\n', "lists no files")
json_case("other_files", replacing('"files": [', '"files": [1,'), "that is not a file")
json_case("path_number", replacing('"INSTALL.txt"', "7"), "has a path 7")
json_case("hash_upper", replacing('"sha256": "', '"sha256": "A'), "not 64 hexadecimal digits")
json_case("hash_short", replacing('"sha256": "', '"sha256": "", "x": "'), "unknown key")
json_case("maker", replacing('"edgeproxy": "', '"edgeproxy": "\\u001b'), "has control characters")
json_case("maker_long", replacing('"edgeproxy": "', '"edgeproxy": "' + "1" * 300), "line of text")
json_case("wheels", replacing(ONE, ONE + ',\n "wheels_for": "x"'), "contradicts itself")


@hostile("does not list INSTALL.txt")
def no_instructions(of: Altered) -> None:
    del of.files[0]


@hostile("lists no trio")
def no_trio(of: Altered) -> None:
    of.files = [row for row in of.files if not row["path"].startswith("trios/")]


@hostile("belongs to no trio of the bundle")
def a_text_without_its_trio(of: Altered) -> None:
    of.put("trios/other/LICENSE", b"evil", at=3)


@hostile("out of order")
def out_of_order(of: Altered) -> None:
    of.files[1], of.files[2] = of.files[2], of.files[1]


@hostile("contradicts itself about wheels")
def wheels_for_nothing(of: Altered) -> None:
    of.put("wheels/evil-1-py3-none-any.whl", b"evil", at=3)


@hostile("trio.toml: unknown key evil")
def a_trio_with_an_unknown_key(of: Altered) -> None:
    toml(of, 'name = "mini"', 'name = "mini"\nevil = 1')


@hostile("not valid TOML")
def a_trio_that_is_no_toml(of: Altered) -> None:
    toml(of, 'name = "mini"', "name = ")


@hostile("is that of 'other'")
def a_trio_under_another_name(of: Altered) -> None:
    toml(of, 'name = "mini"', 'name = "other"')


@hostile("sha256 is missing")
def a_trio_without_hashes(of: Altered) -> None:
    toml(of, "sha256", "# sha256")


@hostile("base.gguf of the trio mini is not in it")
def a_trio_that_wants_more(of: Altered) -> None:
    toml(of, 'sha256 = "', f'sha256 = "{"0" * 64}"\n# "')


@hostile("sha256 must be 64 hexadecimal digits")
def a_trio_whose_hash_leads_out(of: Altered) -> None:
    toml(of, 'sha256 = "', 'sha256 = "../../../../evil"\n# "')


@hostile("the manifest of mini gives base.gguf another size than it has")
def a_trio_with_another_size(of: Altered) -> None:
    toml(of, "\nsize = ", "\nsize = 1")


@hostile("models/[0-9a-f]+: it is not a GGUF file|models/[0-9a-f]+: ")
def a_model_that_is_none(of: Altered) -> None:
    old = of.row("models/")
    size = old["size"]
    of.put_model(b"evil".ljust(size, b"!"), old["sha256"])


@hostile("models/[0-9a-f]+: llama.block_count is 0")
def a_model_that_would_abort_llama_cpp(of: Altered) -> None:
    base = next(row for row in of.files if row["path"][0] == "m")
    made = draft()
    made.metadata["llama.block_count"] = 0
    of.put_model(made.bytes(seed=1), base["sha256"])
    toml(of, f"size = {base['size']}", f"size = {len(made.bytes(seed=1))}")
