// Package verify decides whether a commit is signed by somebody who may.
//
// Keys come as PGP keyrings or as ssh-keygen's lists of allowed signers. They
// must be good now, not only when the signature says that it was made: who has
// an old key can write any date. A signature is looked at over the bytes that
// git signs, and a tag must carry the name that it is found under.
//
// Not here: certificates of ssh authorities, X.509.
package verify
