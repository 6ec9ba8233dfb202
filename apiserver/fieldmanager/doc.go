// Package fieldmanager keeps metadata.managedFields: which writer owns which
// field of an object.
//
// Server-side apply goes through the structured merge of apimachinery with
// the schemas of the built-in types.
package fieldmanager
