// Package blame joins what git says of an object with the live one, field by
// field, and with who has written each. It is pure: where lines and commits
// come from is its callers' matter.
package blame
