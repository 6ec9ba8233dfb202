package oidc

import (
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/cel"
)

// codecs read the configuration in any of its versions, and nothing beyond
// what it has. They are made when there is a file to read.
var codecs = sync.OnceValue(func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict)
})

// parse reads and validates a configuration. own are the issuers that it must
// not claim.
func parse(text []byte, compiler cel.Compiler, own []string) (*apiserver.AuthenticationConfiguration, error) {
	o, err := runtime.Decode(codecs().UniversalDecoder(), text)
	if err != nil {
		return nil, err
	}
	c, ok := o.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("want a kind AuthenticationConfiguration, not %T", o)
	}
	for i := range c.JWT {
		if kind := c.JWT[i].Issuer.EgressSelectorType; kind != "" {
			return nil, fmt.Errorf("jwt[%d].issuer.egressSelectorType: %q: this server has no egress selectors", i, kind)
		}
	}
	if err := validation.ValidateAuthenticationConfiguration(compiler, c, own).ToAggregate(); err != nil {
		return nil, err
	}
	return c, nil
}
