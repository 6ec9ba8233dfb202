// Package usage is the API group metrics.k8s.io: what nodes and pods use, asked
// of the nodes' agents when somebody wants to know, and never stored.
//
// Processor time is a rate between two looks. A look that comes within two
// minutes after another one is compared with that; else the agents are asked
// twice, a second apart. Answers are kept for 15 seconds. An agent that does
// not answer within two seconds is left out, and so is what it alone could say.
// An agent is believed about the pods that are bound to its node, and no others.
package usage
