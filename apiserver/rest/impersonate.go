package rest

import (
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/apiserver/authn"
	"github.com/headway-sh/headway/apiserver/write"
)

const (
	headerUser  = "Impersonate-User"
	headerUID   = "Impersonate-Uid"
	headerGroup = "Impersonate-Group"
	extraPrefix = "Impersonate-Extra-"
)

// impersonate takes the identity that the headers ask for, if the caller may
// impersonate every part of it.
func (h *Handler) impersonate(r *http.Request, real txn.Identity) (txn.Identity, error) {
	wanted := txn.Identity{Name: r.Header.Get(headerUser), UID: r.Header.Get(headerUID), Groups: slices.Clone(r.Header.Values(headerGroup)),
		Extra: authn.ExtraHeaders(r.Header, extraPrefix), Address: real.Address, UserAgent: real.UserAgent, Impersonator: real.Name}
	if wanted.Name == "" {
		if wanted.UID != "" || len(wanted.Groups) > 0 || len(wanted.Extra) > 0 {
			return real, apierrors.NewBadRequest("a group, uid or extra can only be impersonated together with a user")
		}
		return real, nil
	}
	for _, a := range write.Impersonation(wanted) {
		if err := h.authorize(real, a); err != nil {
			return real, err
		}
	}
	wanted.Groups = write.GroupsOf(wanted)
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			r.Header.Del(name)
		}
	}
	return wanted, nil
}
