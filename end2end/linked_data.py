"""Reads documents as any JSON-LD processor would: with nothing of the product's own code.

python3 linked_data.py CONTEXTS_FILE DOCUMENTS_FILE

CONTEXTS_FILE: {address: context document}, all that may be loaded. DOCUMENTS_FILE: [document].
Every document is expanded and compacted again, and turned into RDF and back; both have to give the
document again. Prints one JSON array with {"faults": [what differs], "quads": [N-Quads]} for each.
"""

import json
import sys

from pyld import jsonld


def plain(value):
    """A document's types have no order."""
    if isinstance(value, dict):
        return {
            key: sorted(inner) if key == "@type" and isinstance(inner, list) else plain(inner)
            for key, inner in value.items()
        }
    return value


def main() -> int:
    contexts_file, documents_file = sys.argv[1:]
    with open(contexts_file, encoding="utf-8") as file:
        contexts = json.load(file)
    with open(documents_file, encoding="utf-8") as file:
        documents = json.load(file)

    def load(address, _options):
        if address not in contexts:
            raise ValueError(f"{address} may not be loaded")
        return {
            "contextUrl": None,
            "documentUrl": address,
            "contentType": "application/ld+json",
            "document": contexts[address],
        }

    jsonld.set_document_loader(load)
    results = []
    for document in documents:
        address = document["@context"]
        expanded = jsonld.expand(document)
        compacted = jsonld.compact(expanded, address)
        quads = jsonld.to_rdf(document, {"format": "application/n-quads"})
        again = jsonld.from_rdf(quads, {"format": "application/n-quads", "useNativeTypes": True})
        frame = {"@context": address, "@type": document["@type"], "@embed": "@always"}
        framed = jsonld.frame(again, frame)
        faults = []
        for way, result in (("compacted", compacted), ("from RDF", framed)):
            if plain(result) != plain(document):
                faults.append(f"{way}: {json.dumps(result, sort_keys=True)}")
        results.append({"faults": faults, "quads": [line for line in quads.splitlines() if line]})
    json.dump(results, sys.stdout)
    return 0


sys.exit(main())
