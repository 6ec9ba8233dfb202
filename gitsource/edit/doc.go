// Package edit changes fields of objects in YAML files as a person would: what
// is not changed stays as it is, byte for byte, with comments and order.
//
// A change is made by line and column of the parsed file and read back: what
// does not read as the old file with that change, and with nothing else, is
// given up with an error. There are no merge keys or anchors here: what is
// written elsewhere than in the object's own lines is not changed.
package edit
