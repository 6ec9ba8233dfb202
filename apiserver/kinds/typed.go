package kinds

import (
	"time"

	"github.com/headway-sh/headway/api/txn"
)

// The functions of this file let a row's functions take the kind's own type.
// An old object that is nil arrives as a nil pointer.

// as gives the object as T, and a nil T for nil.
func as[T txn.Object](o txn.Object) T {
	t, _ := o.(T)
	return t
}

func defaults[T txn.Object](f func(T)) func(txn.Object) {
	return func(o txn.Object) { f(o.(T)) }
}

func prepare[T txn.Object](f func(o, old T)) func(o, old txn.Object) {
	return func(o, old txn.Object) { f(o.(T), as[T](old)) }
}

func validate[T txn.Object](f func(o, old T) fieldErrors) func(o, old txn.Object) fieldErrors {
	return func(o, old txn.Object) fieldErrors { return f(o.(T), as[T](old)) }
}

func warnings[T txn.Object](f func(o, old T) []string) func(o, old txn.Object) []string {
	return func(o, old txn.Object) []string { return f(o.(T), as[T](old)) }
}

func text[T txn.Object](f func(T) string) func(txn.Object) string {
	return func(o txn.Object) string { return f(o.(T)) }
}

func values[T txn.Object](f func(T) []string) func(txn.Object) []string {
	return func(o txn.Object) []string { return f(o.(T)) }
}

func row[T txn.Object](f func(o T, now time.Time) []any) func(txn.Object, time.Time) []any {
	return func(o txn.Object, now time.Time) []any { return f(o.(T), now) }
}

// untyped gives a typed object back as an interface, nil for a nil pointer.
func untyped[T any, P interface {
	*T
	txn.Object
}](o P) txn.Object {
	if o == nil {
		return nil
	}
	return o
}
