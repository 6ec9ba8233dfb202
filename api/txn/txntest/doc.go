// Package txntest has an emulator of the transaction contract in memory, and
// the suite that it and the real implementations pass.
//
// The emulator applies, refuses, conflicts and dumps: server-side apply with
// managed fields by the library, strict decoding, namespaces that must exist,
// a few fields that cannot be changed, one revision per transaction, observers
// and guards. It has no authorization, admission, defaulting or garbage
// collection.
package txntest
