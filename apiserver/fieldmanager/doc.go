// Package fieldmanager keeps metadata.managedFields: which writer owns which
// field of an object.
//
//	Apply    the structured merge of apimachinery, with the schemas of the
//	         built-in types; the shape of other types is deduced
//	Update   every other write: what is equal before and after is blanked, the
//	         schema compares the rest, the writer gains what it changed and
//	         everybody else loses it
//
// Update gives what the library gives, which is its test oracle, at a fraction
// of the cost. Writes that are unusual go to the library: another API version
// than the storage version, managedFields that the writer has edited, custom
// resources, more than ten updaters.
package fieldmanager
