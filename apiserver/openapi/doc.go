// Package openapi describes the API to clients: OpenAPI v3, one document a
// group and version, and OpenAPI v2 in one piece for those who still ask.
//
// The schemas lie compressed in the binary (definitions.json.gz, made by the
// program gen). Nothing of them is read at start: a document is put together
// when it is first asked for, and kept compressed.
//
//	definitions.json.gz ─ schemas that the kinds reach ─┐
//	kind table ────────── paths, operations ────────────┴─ document ─ JSON or protobuf ─ gzip
package openapi
