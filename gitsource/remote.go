package gitsource

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/headway-sh/headway/api/gitops/v1alpha1"
	"github.com/headway-sh/headway/api/txn"
	"github.com/headway-sh/headway/gitsource/fetch"
	"github.com/headway-sh/headway/gitsource/repo"
)

// remote gathers what is needed to talk to a target, from its Secret as it is
// now.
func (e *Engine) remote(ctx context.Context, t fetch.Target) (repo.Remote, error) {
	r := repo.Remote{URL: t.URL, CABundle: []byte(t.CABundle), Limits: e.cfg.Limits}
	if t.Secret == (v1alpha1.SecretReference{}) {
		return r, nil
	}
	view, err := e.cfg.Txn.View(ctx)
	if err != nil {
		return r, err
	}
	o, ok := view.Get(txn.Ref{Resource: secrets, Namespace: t.Secret.Namespace, Name: t.Secret.Name})
	secret, typed := o.(*corev1.Secret)
	if !ok || !typed {
		return r, fmt.Errorf("the Secret %s/%s with the credentials does not exist", t.Secret.Namespace, t.Secret.Name)
	}
	d := secret.Data
	r.Token, r.BearerToken, r.Username, r.Password = string(d["token"]), string(d["bearerToken"]), string(d["username"]), string(d["password"])
	r.ClientCert, r.ClientKey = d["tls.crt"], d["tls.key"]
	r.Identity, r.KnownHosts, r.Proxy = d["identity"], d["known_hosts"], string(d["proxy"])
	r.NoProxy = string(d["noProxy"])
	if len(r.CABundle) == 0 {
		r.CABundle = d["ca.crt"]
	}
	return r, nil
}
