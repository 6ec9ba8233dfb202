package fieldmanager

import (
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/kind"
)

// UpdateByLibrary is the oracle of Update.
func (f *Fields) UpdateByLibrary(k *kind.Kind, old, o txn.Object, w Writer) error {
	return f.updateByLibrary(k, old, o, w)
}
