// Package printer is how the user verbs speak: results on standard output in
// the form that -o asks for, progress on standard error.
package printer
