package plan

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/headway-sh/headway/api/txn"
)

// Digest is a keyed digest of the plan: of every object it asks for, what is
// to happen to it, and the generation of what it replaces or deletes. Writes
// of status do not change it.
func (p *Plan) Digest(key []byte, view txn.View) string {
	h := hmac.New(sha256.New, key)
	for _, s := range p.Stages {
		for _, c := range s.Changes {
			fmt.Fprintf(h, "%s\x00%s\x00", c.Verb, c.Ref)
			if c.As != nil {
				fmt.Fprintf(h, "%s\x00", c.As.Name)
			}
			if p.Replaced[c.Ref] {
				fmt.Fprint(h, "replaced\x00")
			}
			if c.Verb != txn.Delete {
				fmt.Fprintf(h, "%s\x00", p.Next.Entries[c.Ref].Digest)
			}
			if o, ok := view.Get(c.Ref); ok {
				fmt.Fprintf(h, "%s\x00%d\x00", o.GetUID(), o.GetGeneration())
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
