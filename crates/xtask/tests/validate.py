"""Compares files with schemas that packages for Python carry: validate.py KIND FILE...

Prints each difference and exits with 1 if there is one.
"""

import json
import re
import sys
from importlib import resources

import jsonschema
import yaml
from referencing import Registry, Resource

VERSION_OF_KUBERNETES = "1.34"


def cyclonedx(files):
    folder = resources.files("cyclonedx.schema").joinpath("_res")

    def load(name):
        return json.loads(folder.joinpath(name).read_text())

    registry = Registry()
    for name in ("spdx", "jsf-0.82", "cryptography-defs"):
        file = f"{name}.SNAPSHOT.schema.json"
        resource = Resource.from_contents(load(file))
        registry = registry.with_resource(f"http://cyclonedx.org/schema/{file}", resource)
    schema = load("bom-1.6.SNAPSHOT.schema.json")
    validator = jsonschema.Draft7Validator(schema, registry=registry)
    for file in files:
        with open(file) as opened:
            yield from differences(validator, file, json.load(opened))


def builtin(name):
    """A schema that check-jsonschema bundles."""

    def validate(files):
        folder = resources.files("check_jsonschema.builtin_schemas.vendor")
        schema = json.loads(folder.joinpath(name).read_text())
        validator = jsonschema.validators.validator_for(schema)(schema)
        for file in files:
            yield from differences(validator, file, read_yaml(file)[0])

    return validate


def kubernetes(files):
    import kubernetes_validate

    for file in files:
        for resource in read_yaml(file):
            try:
                # Strict: a field that is not known is a difference.
                kubernetes_validate.validate(resource, VERSION_OF_KUBERNETES, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = "/".join(str(part) for part in error.path)
                yield f"{file}: {resource['kind']}: {where}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError as error:
                yield f"{file}: {error.message}"


def differences(validator, file, document):
    for error in validator.iter_errors(document):
        where = "/".join(str(part) for part in error.absolute_path)
        yield f"{file}: {where}: {error.message}"


class Loader(yaml.SafeLoader):
    """Reads `on:` as a text, as GitHub does, and refuses a key that a mapping has twice."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1 and key != "<<"}
        if twice:
            raise yaml.YAMLError(f"{twice} occurs twice {node.start_mark}")
        return super().construct_mapping(node, deep)


# YAML 1.2, as all of these tools read it: only true and false are booleans.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))


def read_yaml(file):
    with open(file) as opened:
        return [document for document in yaml.load_all(opened, Loader) if document is not None]


def print_json(files):
    """Prints all documents of all files, for programs that do not read YAML."""
    print(json.dumps([document for file in files for document in read_yaml(file)]))
    return []


KINDS = {
    "cyclonedx": cyclonedx,
    "compose": builtin("compose-spec.json"),
    "workflow": builtin("github-workflows.json"),
    "kubernetes": kubernetes,
    "json": print_json,
}

if __name__ == "__main__":
    found = list(KINDS[sys.argv[1]](sys.argv[2:]))
    print("\n".join(found), file=sys.stderr)
    sys.exit(1 if found else 0)
