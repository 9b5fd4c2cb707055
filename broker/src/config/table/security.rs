//! Authentication, authorisation, TLS, delegation tokens.

use super::reasons::{AUTHORIZER, PASSWORDS, SASL, SECURITY_CLASS, TLS, TOKENS};
use crate::config::key::{Key, keys};

#[rustfmt::skip]
pub(super) const KEYS: &[Key] = keys! {
    "authorizer.class.name": Text = Some(""), NonNull, Low, ReadOnly => OnlyDefault(AUTHORIZER),
        "Java class that decides who may do what.";
    "principal.builder.class": Class =
        Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"), Any, Medium, PerBroker
        => OnlyDefault(SECURITY_CLASS),
        "Java class that names the user behind a connection.";
    "security.providers": Text = None, Any, Low, ReadOnly => OnlyDefault(SECURITY_CLASS),
        "Java classes that add security providers.";
    "connections.max.reauth.ms": Long = Some("0"), Any, Medium, ReadOnly => OnlyDefault(SASL),
        "How long a SASL session lasts before it must authenticate again, in ms; 0 is for ever.";
    "delegation.token.master.key": Password = None, Any, Medium, ReadOnly => OnlyDefault(TOKENS),
        "Old name of delegation.token.secret.key.";
    "delegation.token.secret.key": Password = None, Any, Medium, ReadOnly => OnlyDefault(TOKENS),
        "Secret that delegation tokens are signed with.";
    "delegation.token.expiry.check.interval.ms": Long = Some("3600000"), AtLeast(1.0), Low, ReadOnly
        => NoEffect(TOKENS),
        "Of delegation tokens, which stay off without delegation.token.secret.key. In ms.";
    "delegation.token.expiry.time.ms": Long = Some("86400000"), AtLeast(1.0), Medium, ReadOnly => NoEffect(TOKENS),
        "Of delegation tokens, which stay off without delegation.token.secret.key. In ms.";
    "delegation.token.max.lifetime.ms": Long = Some("604800000"), AtLeast(1.0), Medium, ReadOnly => NoEffect(TOKENS),
        "Of delegation tokens, which stay off without delegation.token.secret.key. In ms.";
    "password.encoder.cipher.algorithm": Text = Some("AES/CBC/PKCS5Padding"), Any, Low, ReadOnly
        => OnlyDefault(PASSWORDS),
        "How passwords in dynamic configs are encrypted.";
    "password.encoder.iterations": Int = Some("4096"), AtLeast(1024.0), Low, ReadOnly => OnlyDefault(PASSWORDS),
        "How passwords in dynamic configs are encrypted.";
    "password.encoder.key.length": Int = Some("128"), AtLeast(8.0), Low, ReadOnly => OnlyDefault(PASSWORDS),
        "How passwords in dynamic configs are encrypted.";
    "password.encoder.keyfactory.algorithm": Text = None, Any, Low, ReadOnly => OnlyDefault(PASSWORDS),
        "How passwords in dynamic configs are encrypted.";
    "password.encoder.old.secret": Password = None, Any, Medium, ReadOnly => OnlyDefault(PASSWORDS),
        "How passwords in dynamic configs are encrypted.";
    "password.encoder.secret": Password = None, Any, Medium, ReadOnly => OnlyDefault(PASSWORDS),
        "How passwords in dynamic configs are encrypted.";
    "ssl.allow.dn.changes": Boolean = Some("false"), Any, Low, ReadOnly => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.allow.san.changes": Boolean = Some("false"), Any, Low, ReadOnly => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.cipher.suites": List = Some(""), Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.client.auth": Text = Some("none"), OneOf(&["required", "requested", "none"]), Medium, PerBroker
        => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.enabled.protocols": List = Some("TLSv1.2,TLSv1.3"), Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.endpoint.identification.algorithm": Text = Some("https"), Any, Low, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.engine.factory.class": Class = None, Any, Low, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.key.password": Password = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.keymanager.algorithm": Text = Some("SunX509"), Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.keystore.certificate.chain": Password = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.keystore.key": Password = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.keystore.location": Text = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.keystore.password": Password = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.keystore.type": Text = Some("JKS"), Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.principal.mapping.rules": Text = Some("DEFAULT"), Any, Low, ReadOnly => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.protocol": Text = Some("TLSv1.3"), Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.provider": Text = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.secure.random.implementation": Text = None, Any, Low, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.trustmanager.algorithm": Text = Some("PKIX"), Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.truststore.certificates": Password = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.truststore.location": Text = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.truststore.password": Password = None, Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "ssl.truststore.type": Text = Some("JKS"), Any, Medium, PerBroker => OnlyDefault(TLS),
        "Of TLS.";
    "sasl.client.callback.handler.class": Class = None, Any, Medium, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.enabled.mechanisms": List = Some("GSSAPI"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.jaas.config": Password = None, Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.kerberos.kinit.cmd": Text = Some("/usr/bin/kinit"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.kerberos.min.time.before.relogin": Long = Some("60000"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.kerberos.principal.to.local.rules": List = Some("DEFAULT"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.kerberos.service.name": Text = None, Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.kerberos.ticket.renew.jitter": Double = Some("0.05"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.kerberos.ticket.renew.window.factor": Double = Some("0.8"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.callback.handler.class": Class = None, Any, Medium, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.class": Class = None, Any, Medium, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.connect.timeout.ms": Int = None, Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.read.timeout.ms": Int = None, Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.refresh.buffer.seconds": Short = Some("300"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.refresh.min.period.seconds": Short = Some("60"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.refresh.window.factor": Double = Some("0.8"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.refresh.window.jitter": Double = Some("0.05"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.retry.backoff.max.ms": Long = Some("10000"), Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.login.retry.backoff.ms": Long = Some("100"), Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.mechanism.controller.protocol": Text = Some("GSSAPI"), Any, High, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.mechanism.inter.broker.protocol": Text = Some("GSSAPI"), Any, Medium, PerBroker => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.clock.skew.seconds": Int = Some("30"), Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.expected.audience": List = None, Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.expected.issuer": Text = None, Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.jwks.endpoint.refresh.ms": Long = Some("3600000"), Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms": Long = Some("10000"), Any, Low, ReadOnly
        => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms": Long = Some("100"), Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.jwks.endpoint.url": Text = None, Any, Medium, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.scope.claim.name": Text = Some("scope"), Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.sub.claim.name": Text = Some("sub"), Any, Low, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.oauthbearer.token.endpoint.url": Text = None, Any, Medium, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.server.callback.handler.class": Class = None, Any, Medium, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
    "sasl.server.max.receive.size": Int = Some("524288"), Any, Medium, ReadOnly => OnlyDefault(SASL),
        "Of SASL.";
};
