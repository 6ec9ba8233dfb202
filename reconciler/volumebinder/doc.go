// Package volumebinder binds claims to volumes, and tells what state both are
// in:
//
//	claim   Pending ─▶ Bound ─▶ Lost          its volume has gone
//	volume  Available ─▶ Bound ─▶ Released    its claim has gone
//
// A claim takes the smallest volume that fits. If none does and its class has a
// provisioner, the claim is annotated for it; a class that waits for the first
// consumer does neither until the scheduler has chosen a node. Both ends name
// each other: the volume's claimRef is written first, so that two claims never
// have one volume.
package volumebinder
