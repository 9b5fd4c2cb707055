//! Java's login files (JAAS): named contexts, each with login modules and their options.
//!
//! ```text
//! Client {
//!   org.apache.zookeeper.server.auth.DigestLoginModule required
//!   username="kafka" password="secret";
//! };
//! ```
//!
//! The syntax is `javax.security.auth.login.Configuration`'s. What a module means is the caller's business.

use std::collections::BTreeMap;
use std::fmt;

/// One entry of a context.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct LoginModule {
    /// Name of the Java class.
    pub(crate) class: String,
    pub(crate) options: BTreeMap<String, String>,
}

/// Options may be passwords.
impl fmt::Debug for LoginModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.class, self.options.keys())
    }
}

/// Why a login file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: expected {expected}, found {found}")]
pub(crate) struct JaasError {
    line: usize,
    expected: &'static str,
    found: String,
}

/// The contexts of a login file, by name.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, Vec<LoginModule>>, JaasError> {
    const FLAGS: [&str; 4] = ["required", "requisite", "sufficient", "optional"];
    let mut tokens = Tokens { rest: text, line: 1 };
    let mut contexts = BTreeMap::new();
    while let Some(name) = tokens.word_or_end("the name of a context")? {
        tokens.sign('{', "{")?;
        let mut modules = Vec::new();
        while !tokens.takes('}')? {
            let class = tokens.word("a login module or }")?;
            let flag = tokens.word("required, requisite, sufficient or optional")?;
            if !FLAGS.iter().any(|known| known.eq_ignore_ascii_case(&flag)) {
                return Err(tokens.error("required, requisite, sufficient or optional", flag));
            }
            let mut options = BTreeMap::new();
            while !tokens.takes(';')? {
                let option = tokens.word("an option or ;")?;
                tokens.sign('=', "=")?;
                options.insert(option, tokens.word("a value")?);
            }
            modules.push(LoginModule { class, options });
        }
        tokens.sign(';', "; after }")?;
        contexts.insert(name, modules);
    }
    Ok(contexts)
}

/// What is left of a file, and where it begins.
struct Tokens<'a> {
    rest: &'a str,
    line: usize,
}

impl Tokens<'_> {
    fn error(&self, expected: &'static str, found: impl Into<String>) -> JaasError {
        JaasError { line: self.line, expected, found: found.into() }
    }

    fn advance(&mut self, bytes: usize) {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }

    /// Past white space and comments, to the next character; `None` at the end.
    fn next(&mut self) -> Result<Option<char>, JaasError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.advance(blank);
            if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.advance(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if let Some(comment) = self.rest.strip_prefix("/*") {
                match comment.find("*/") {
                    Some(end) => self.advance(end + 4),
                    None => return Err(self.error("*/", "the end of the file")),
                }
            } else {
                return Ok(self.rest.chars().next());
            }
        }
    }

    /// Whether the next character is `sign`, which is then taken.
    fn takes(&mut self, sign: char) -> Result<bool, JaasError> {
        let takes = self.next()? == Some(sign);
        if takes {
            self.advance(sign.len_utf8());
        }
        Ok(takes)
    }

    fn sign(&mut self, sign: char, expected: &'static str) -> Result<(), JaasError> {
        match self.takes(sign)? {
            true => Ok(()),
            false => Err(self.error(expected, self.shown())),
        }
    }

    fn word(&mut self, expected: &'static str) -> Result<String, JaasError> {
        let word = self.word_or_end(expected)?;
        word.ok_or_else(|| self.error(expected, "the end of the file"))
    }

    /// A bare or a quoted word.
    fn word_or_end(&mut self, expected: &'static str) -> Result<Option<String>, JaasError> {
        let Some(first) = self.next()? else { return Ok(None) };
        if matches!(first, '"' | '\'') {
            self.advance(first.len_utf8());
            return self.quoted(first).map(Some);
        }
        let ends = |sign: char| sign.is_whitespace() || matches!(sign, '{' | '}' | ';' | '=' | '"' | '\'');
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.error(expected, self.shown()));
        }
        let word = self.rest[..end].to_owned();
        self.advance(end);
        Ok(Some(word))
    }

    /// The rest of a quoted word; a backslash takes the meaning from the character after it.
    fn quoted(&mut self, quote: char) -> Result<String, JaasError> {
        let mut word = String::new();
        let mut signs = self.rest.char_indices();
        while let Some((at, sign)) = signs.next() {
            match sign {
                '\\' => match signs.next() {
                    Some((_, 'n')) => word.push('\n'),
                    Some((_, 't')) => word.push('\t'),
                    Some((_, escaped)) => word.push(escaped),
                    None => break,
                },
                '\n' => break,
                sign if sign == quote => {
                    self.advance(at + quote.len_utf8());
                    return Ok(word);
                }
                sign => word.push(sign),
            }
        }
        Err(self.error("the closing quote", "the end of the line"))
    }

    /// The next character in an error message; never more, it may be a password.
    fn shown(&self) -> String {
        self.rest.chars().next().map_or("the end of the file".to_owned(), |sign| sign.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    #[test]
    fn contexts_modules_and_options_are_read() {
        let text = "/* two\n contexts */ KafkaServer {\n};\n// ours\nClient {\n  a.B required\n  username=\"kafka\"\n  \
                    password='se\\'c;ret' debug=true;\n  c.D OPTIONAL;\n};\n";
        let contexts = parse(text).expect("readable");
        assert_eq!(contexts["KafkaServer"], []);
        let client = &contexts["Client"];
        assert_eq!(client.iter().map(|module| module.class.as_str()).collect::<Vec<_>>(), ["a.B", "c.D"]);
        assert_eq!(client[0].options["password"], "se'c;ret");
        assert_eq!(client[0].options["debug"], "true");
    }

    #[test]
    fn an_error_names_the_line_and_shows_no_password() {
        assert_eq!(
            told("Client {\n a.B needed\n;};"),
            "line 2: expected required, requisite, sufficient or optional, found needed"
        );
        assert_eq!(
            told("Client {\n a.B required password=\"secret\n;};"),
            "line 2: expected the closing quote, found the end of the line"
        );
        assert_eq!(
            told("Client {\n a.B required;\n}"),
            "line 3: expected ; after }, found the end of the file"
        );
        assert_eq!(told("/* never closed"), "line 1: expected */, found the end of the file");
    }

    #[test]
    fn no_text_makes_it_panic() {
        let text = "é Client { a.B required x=\"\\\" y='ö' ; /* */ } ; # end";
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let _ = parse(&text[..end]);
            let _ = parse(&text[end..]);
        }
    }
}
