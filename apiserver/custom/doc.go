// Package custom serves custom resources: it turns CustomResourceDefinitions
// into rows of the kind table, so that reading, writing, watching and
// describing custom resources need no code of their own.
//
//	CustomResourceDefinition on a View ─▶ Kinds ─▶ row per version ─▶ write path, REST, discovery, OpenAPI
//	CustomResourceDefinition in the store ─▶ Follower ─▶ the store has the resource, or has it no longer
//
// A row is found on the View that a request is decided on: in a plan, custom
// resources see the definitions of the same pending changes. Rows are made once
// for every state of a definition and shared; schemas are compiled when they
// are first needed.
//
// The names that a definition asks for are accepted or refused in the
// transaction that writes it (Definitions is the admission step), so that a
// definition is established when its creation is answered.
package custom
