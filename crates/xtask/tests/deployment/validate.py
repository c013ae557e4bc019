"""Compares files with schemas that packages for Python carry: validate.py KIND FILE...

Prints each difference to standard error and exits with 1 if there is one.
"""

import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import jsonschema_rs
import yaml

# The oldest and the newest version of Kubernetes that the manifests support.
VERSIONS_OF_KUBERNETES = ("1.30", "1.37")


def folder_of(package):
    """A package's folder. Importing the package would take longer than the comparison."""
    return Path(find_spec(package).submodule_search_locations[0])


def read_json(file):
    return json.loads(Path(file).read_text())


def cyclonedx(files):
    folder = folder_of("cyclonedx") / "schema" / "_res"
    names = [f"{name}.SNAPSHOT.schema.json" for name in ("spdx", "jsf-0.82", "cryptography-defs")]
    registry = jsonschema_rs.Registry(
        [(f"http://cyclonedx.org/schema/{name}", read_json(folder / name)) for name in names]
    )
    schema = read_json(folder / "bom-1.6.SNAPSHOT.schema.json")
    validator = jsonschema_rs.validator_for(schema, registry=registry)
    for file in files:
        yield from differences(validator, file, read_json(file))


def bundled(name):
    """A schema that check-jsonschema bundles."""

    def compare(files):
        folder = folder_of("check_jsonschema") / "builtin_schemas" / "vendor"
        validator = jsonschema_rs.validator_for(read_json(folder / name))
        for file in files:
            yield from differences(validator, file, read_yaml(file)[0])

    return compare


def kubernetes(files):
    documents = [(file, document) for file in files for document in read_yaml(file)]
    for version in VERSIONS_OF_KUBERNETES:
        # Strict: a field that is not known is a difference.
        folder = folder_of("kubernetes_validate") / f"kubernetes-json-schema/v{version}.0-local-strict"
        definitions = read_json(folder / "_definitions.json")
        registry = jsonschema_rs.Registry([(f"{folder.as_uri()}/_definitions.json", definitions)])
        for file, document in documents:
            group, _, name = document["apiVersion"].rpartition("/")
            parts = [document["kind"].lower(), *group.split(".")[:1], name]
            schema = folder / ("-".join(filter(None, parts)) + ".json")
            if not schema.is_file():
                yield f"{file}: {document['apiVersion']} {document['kind']} is not in {version}"
                continue
            validator = jsonschema_rs.validator_for(
                read_json(schema), registry=registry, base_uri=schema.as_uri()
            )
            yield from differences(validator, f"{file} {version}", document)


def differences(validator, file, document):
    for error in validator.iter_errors(document):
        where = "/".join(str(part) for part in error.instance_path)
        yield f"{file}: {where}: {error.message}"


class Loader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, as these tools do."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1 and key != "<<"}
        if twice:
            raise yaml.YAMLError(f"{twice} occurs twice {node.start_mark}")
        return super().construct_mapping(node, deep)


# YAML 1.2, as all of these tools read it: only true and false are booleans, and `on` is a text.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def read_yaml(file):
    with open(file) as opened:
        try:
            documents = list(yaml.load_all(opened, Loader))
        except yaml.YAMLError as error:
            # It differs from every schema.
            return [{"apiVersion": "", "kind": "", "error": str(error)}]
    return [document for document in documents if document is not None]


def print_json(files):
    """Prints all documents of all files, for programs that do not read YAML."""
    print(json.dumps([document for file in files for document in read_yaml(file)]))
    return []


KINDS = {
    "cyclonedx": cyclonedx,
    "compose": bundled("compose-spec.json"),
    "workflow": bundled("github-workflows.json"),
    "kubernetes": kubernetes,
    "json": print_json,
}

if __name__ == "__main__":
    found = list(KINDS[sys.argv[1]](sys.argv[2:]))
    print("\n".join(found), file=sys.stderr)
    sys.exit(1 if found else 0)
