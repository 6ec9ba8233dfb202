// Package match tells which requests the rules and selectors of webhooks and
// policies are about, and puts requests into the words of their expressions.
//
// It is asked about every write, so that what says no allocates nothing; what
// is about no object at all (no webhook, no policy) is not even asked.
package match
