// Package membership keeps the address book of the cluster's machines by
// gossip (hashicorp/memberlist) and is the second witness of whether one of
// them lives.
//
// It is a hint and never an authority: it finds servers for agents and speeds
// up suspicion, but alone it admits, evicts and deletes nothing. Packets are
// sealed with the cluster's gossip key; a peer without the key is dropped.
package membership
