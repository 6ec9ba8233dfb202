// Package drift sees on the write path when somebody changes what git says:
// a write by anyone but the engine that changes or removes a field which the
// source's field manager owns, or deletes an object of an inventory.
//
// The record, with a name to it, is stored in the same transaction as the
// write it is about. Correcting is somebody else's task. Writes of status,
// fields of other managers and objects outside the inventories are no drift.
package drift
