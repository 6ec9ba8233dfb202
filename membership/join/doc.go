// Package join lets a machine into the cluster as a node, and keeps its
// identity afterwards.
//
//	token ──▶ HTTPS, authority pinned by the token's hash
//	      ──▶ Path: parameters of the cluster and the gossip key     (Server, Agent)
//	      ──▶ client certificate by CertificateSigningRequest, as the token
//	      ──▶ serving certificate by CertificateSigningRequest, as the node
//
// What was received is kept below the agent's directory, so that a restart
// needs neither token nor server. Both certificates are renewed with a third of
// their life left. A revoked token admits nobody new and ends no node.
package join
