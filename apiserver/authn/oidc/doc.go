// Package oidc believes the tokens of others: of the OpenID Connect providers
// that an AuthenticationConfiguration (apiserver.config.k8s.io/v1) names. The
// file also says to whom the API answers without any credential.
//
//	file ─▶ parse, validate ─▶ an authenticator for each issuer ─▶ in force
//	  ▲                           │ asks its provider for keys, every 10 s
//	  └── changed: again          ▼ until it answers
//
// A content that is wrong is refused at the start and changes nothing later.
// Issuers that a change leaves as they are keep their keys. What is evaluated
// is Kubernetes' own: its types, validation, CEL environment and authenticator.
package oidc
